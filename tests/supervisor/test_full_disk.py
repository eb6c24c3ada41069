"""A full or unwritable root: said by name, never waited for, and nothing of a log lost without a word."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.supervisor.session import Target, opened, start_request, wait_until

TMPFS_BYTES = 4 * 1024 * 1024


@pytest.fixture
def small_target(tmp_path, supervisor_home):
    """Return a target whose root is a small file system of its own."""
    root = tmp_path / "small"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES},mode=700", "none", str(root)], check=True)
    try:
        with opened(root, supervisor_home) as target:
            yield target
            target.close()
            wait_until(lambda: not target.processes())
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


def fill(target: Target, leave: int = 0) -> Path:
    """Fill the root up, but for about ``leave`` bytes."""
    path = target.root / "filling"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
        if leave:
            file.truncate(file.tell() - leave)
    return path


@pytest.mark.needs("tmpfs")
def test_a_script_that_fills_the_disk_with_its_log_is_ended_and_the_message_says_why(small_target):
    status = small_target.session().run("sh", "-c", "yes | head -c 100000000; echo survived; sleep 600")

    assert (status["status"], status["reason"]) == ("Failed", "target")
    assert "No space left on device" in status["message"]
    assert "run.log" in status["message"]
    assert b"survived" not in status["log"]
    assert len(status["log"]) > TMPFS_BYTES // 2


@pytest.mark.needs("tmpfs")
def test_a_script_that_fills_the_disk_with_its_files_keeps_its_own_verdict(small_target):
    body = "cat /dev/zero > outputs/big 2>/dev/null; exit 9"

    status = small_target.session().run("sh", "-c", body)

    assert (status["status"], status["exit_code"]) == ("Failed", 9)


@pytest.mark.needs("tmpfs")
def test_a_start_on_a_full_disk_is_refused_and_works_once_there_is_space(small_target):
    session = small_target.session()
    session.ask("hello")
    filling = fill(small_target)
    request = start_request("true")

    refused = session.ask("start", **request)
    filling.unlink()
    answer = session.ask("start", **request)

    assert refused["error"]["code"] == "no_space"
    assert str(small_target.root) in refused["error"]["message"]
    assert session.wait(answer["run_id"])["status"] == "Completed"


@pytest.mark.needs("tmpfs")
@pytest.mark.parametrize("left", [8192, 16384, 40960, 65536])
def test_a_disk_that_fills_up_somewhere_on_the_way_never_leaves_a_run_hanging(small_target, left):
    session = small_target.session()
    session.ask("hello")
    filling = fill(small_target, left)
    request = start_request("sh", "-c", "echo hi")

    answer = session.ask("start", **request)
    if "error" not in answer:
        status = session.wait(answer["run_id"])
        assert (status["status"], status["reason"]) in (("Completed", None), ("Failed", "target"))
    else:
        assert answer["error"]["code"] == "no_space"
    filling.unlink()
    wait_until(lambda: not small_target.processes())
    again = session.ask("start", **request)
    verdict = session.wait(again["run_id"])
    assert verdict["status"] == ("Completed" if "error" in answer else status["status"])


def test_a_root_below_a_file_or_a_foreign_folder_is_refused_with_its_path(tmp_path, supervisor_home):
    (tmp_path / "file").write_text("")
    with opened(tmp_path / "file" / "root", supervisor_home) as target:
        answer = target.session().ask("hello")

    assert str(tmp_path / "file") in answer["error"]["message"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_has_all_of_it_and_a_root_of_others_is_refused(supervisor_home):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        home = Path(folder) / "home"
        subprocess.run(["cp", "-r", str(supervisor_home), str(home)], check=True)
        work = Path(folder) / "work"
        work.mkdir()
        os.chown(work, 2001, 2001)
        with opened(work / "root", home, python_for_everybody()) as target:
            target.environment["PATH"] = "/usr/bin:/bin"
            session = target.session_of(2001)
            assert session.run("id", "-u")["log"] == b"2001\n"
            run = session.ask("start", **start_request("sh", "-c", "setsid sleep 600 & sleep 600"))["run_id"]
            session.until(run, "Running")
            status = session.ask("cancel", run=run, lineage=None, reason="canceled", wait_s=20)["status"]
            assert status["status"] == "Canceled"
            assert os.stat(target.root).st_mode & 0o777 == 0o700
        with opened(Path(folder) / "of root", home, python_for_everybody()) as target:
            answer = target.session_of(2001).ask("hello")
            assert answer["error"]["code"] == "read_only"
            assert "of root" in answer["error"]["message"]


def python_for_everybody() -> str:
    """Return an interpreter that is not below root's own folder."""
    for candidate in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if os.path.exists(candidate):
            return candidate
    pytest.skip(f"no Python that everybody may execute; this one is {sys.executable}")
