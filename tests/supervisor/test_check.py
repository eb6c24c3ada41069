"""What ``check`` finds out: from texts of files by pure functions, from programs within a time, of a real host."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider.scriptrun.supervisor.check import logins, machine, mounts, programs
from tests.supervisor.session import Target, is_alive, wait_until

MOUNTINFO = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard
40 27 0:50 / /home rw,nosuid shared:7 - nfs4 server:/home rw,vers=4.2,addr=10.0.0.1
41 40 0:51 / /home/ann/a\040disk\134 rw,noexec - xfs /dev/vdb rw
42 27 0:52 / /tmp rw,nodev - tmpfs tmpfs rw,size=1k
43 42 0:53 / /tmp ro,noexec - tmpfs tmpfs rw
nonsense
44 27 0:54 /
"""
PROC_SELF_CGROUP = "0::/user.slice/user-1000.slice/{}\n"


@pytest.mark.parametrize(
    ("path", "kind", "is_noexec"),
    [
        ("/etc", "ext4", False),
        ("/", "ext4", False),
        ("/homeless", "ext4", False),
        ("/home", "nfs4", False),
        ("/home/ann/.scriptrun", "nfs4", False),
        ("/home/ann/a disk\\/x", "xfs", True),
        ("/tmp/x", "tmpfs", True),
    ],
)
def test_the_mount_under_a_folder_is_the_last_of_the_longest(path: str, kind: str, is_noexec: bool) -> None:
    mount = mounts.under(mounts.parse(MOUNTINFO), path)
    assert mount is not None
    assert (mount.type, "noexec" in mount.options) == (kind, is_noexec)


@given(st.text(max_size=300))
def test_a_text_that_is_no_mountinfo_has_no_mounts_that_break_anything(text: str) -> None:
    for mount in mounts.parse(text):
        assert isinstance(mount.path, str)
    assert mounts.under([], "/x") is None


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ('NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n', "Debian GNU/Linux 12 (bookworm)"),
        ("PRETTY_NAME='Say \"x\"'\n", 'Say "x"'),
        ("# PRETTY_NAME=no\nNAME=Alpine\n", "Alpine"),
        ('PRETTY_NAME="not closed\n', '"not closed'),
        ("", None),
    ],
)
def test_a_system_is_named_as_it_names_itself(release: str, name: str | None) -> None:
    assert machine.os_name(release) == name


def test_memory_and_gpus_are_read_where_they_are_told() -> None:
    assert machine.total_memory("MemTotal:       24683656 kB\nMemFree: 1 kB\n") == 24683656 * 1024
    assert machine.total_memory("MemTotal: much\n") is None
    assert machine.gpu_model("Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ: 35\n") == "NVIDIA A100-SXM4-40GB"
    assert machine.gpu_model("") == "NVIDIA GPU"


@pytest.mark.parametrize(
    ("texts", "user", "kills"),
    [
        ((), "ann", False),
        (("[Login]\n#KillUserProcesses=no\n",), "ann", False),
        (("[Login]\n#KillUserProcesses=yes\n",), "ann", True),  # what that systemd was built with
        (("[Login]\n#KillUserProcesses=yes\nKillUserProcesses=no\n",), "ann", False),
        (("[Login]\nKillUserProcesses = yes\n",), "ann", True),
        (("[Other]\nKillUserProcesses=yes\n",), "ann", False),
        (("[Login]\nKillUserProcesses=yes\n",), "root", False),
        (("[Login]\nKillUserProcesses=yes\nKillExcludeUsers=root ann\n",), "ann", False),
        (("[Login]\nKillUserProcesses=yes\nKillExcludeUsers=\n",), "root", True),
        (("[Login]\nKillUserProcesses=yes\nKillOnlyUsers=bob\n",), "ann", False),
        (("[Login]\nKillUserProcesses=yes\n", "[Login]\nKillUserProcesses=off\n"), "ann", False),
        (("[Login]\nKillUserProcesses=no\n", "[Login]\nKillUserProcesses=TRUE\n"), "ann", True),
    ],
)
def test_what_logind_does_with_a_users_processes_stands_in_its_configuration(
    texts: tuple[str, ...], user: str, kills: bool
) -> None:
    assert logins.kills(logins.logind_settings(texts), user) is kills


def test_the_parts_of_a_configuration_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    etc, lib = tmp_path / "etc", tmp_path / "lib"
    for folder, name, value in (
        (etc, "logind.conf", "1"),
        (lib, "logind.conf", "never read"),
        (lib, "logind.conf.d/10-a.conf", "hidden"),
        (etc, "logind.conf.d/10-a.conf", "2"),
        (lib, "logind.conf.d/50-b.conf", "3"),
        (etc, "logind.conf.d/99-c.txt", "no part"),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value)
    assert logins.texts((str(etc), str(lib))) == ["1", "2", "3"]
    assert logins.texts((str(tmp_path / "none"),)) == []


@pytest.mark.parametrize(
    ("cgroup", "is_in_session"),
    [
        (PROC_SELF_CGROUP.format("session-12.scope"), True),
        (PROC_SELF_CGROUP.format("user@1000.service/app.slice/run-1.scope"), False),
        ("1:name=systemd:/user.slice/user-0.slice/session-c3.scope\n0::/\n", True),
        ("0::/system.slice/ssh.service\n", False),
        ("", False),
    ],
)
def test_a_process_belongs_to_a_login_as_its_control_group_says(cgroup: str, is_in_session: bool) -> None:
    assert logins.is_in_session(cgroup) is is_in_session


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        (b"uv 0.9.1 (abcdef 2025-01-01)\n", "0.9.1"),
        (b"Docker version 24.0.7, build afdd53b\n", "24.0.7"),
        (b"2.0.5\n", "2.0.5"),
        (b"mamba 1.5.8\nconda 24.3.0\n", "1.5.8"),
        (b"\xff\xfe\n", None),
        (b"", None),
        (None, None),
    ],
)
def test_a_version_is_the_first_word_with_a_digit(answer: bytes | None, version: str | None) -> None:
    assert programs.version_in(answer) == version


@given(st.binary(max_size=200))
def test_whatever_a_program_says_has_a_short_version_or_none(answer: bytes) -> None:
    found = programs.version_in(answer)
    assert found is None or 0 < len(found) <= 40


def script(folder: Path, name: str, *lines: str) -> str:
    path = folder / name
    path.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_program_that_is_broken_or_hangs_has_no_version_and_keeps_nobody(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    commands = {
        "good": [script(tmp_path, "good", "echo good 1.2")],
        "hangs": [script(tmp_path, "hangs", f"echo $$ >> {pids}", f"sleep 1000 & echo $! >> {pids}", "wait")],
        "stays": [script(tmp_path, "stays", "echo stays 3.4", f"echo $$ >> {pids}", "exec sleep 1000")],
        "fails": [script(tmp_path, "fails", "exit 1")],
        "gone": [str(tmp_path / "no such file")],
        "no program": [str(tmp_path)],
        "floods": [script(tmp_path, "floods", "exec cat /dev/zero")],
    }
    answers = programs.ask(commands, 1.0)
    assert answers == {
        **dict.fromkeys(commands),
        "good": b"good 1.2\n",
        "stays": b"stays 3.4\n",
        "floods": answers["floods"],
    }
    assert programs.version_in(answers["floods"]) is None
    for pid in map(int, pids.read_text().split()):
        wait_until(lambda pid=pid: not is_alive(pid), "the end of what a program left")


@pytest.mark.slow
def test_a_check_comes_to_its_end_beside_programs_that_hang(every_target: Target, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("docker", "uv", "conda", "nvidia-smi"):
        script(folder, name, "exec sleep 1000")
    began = time.monotonic()
    answer = every_target.session(PATH=f"{folder}:{os.environ['PATH']}").ask("check")
    assert time.monotonic() - began < 3 * programs.PATIENCE_S
    found = answer["details"]["programs"]
    assert answer["tools"]["docker"] == str(folder / "docker")
    assert found["versions"]["docker"] is None
    assert found["more"]["nvidia-smi"] == str(folder / "nvidia-smi")
    assert "nvidia-smi" not in found["versions"]


def test_a_check_says_what_a_greeting_says_and_more(every_target: Target) -> None:
    session = every_target.session()
    before = time.time()
    answer, greeting = session.ask("check"), session.ask("hello")
    details = answer.pop("details")
    for document in (answer, greeting):
        document.pop("free_bytes")
    assert answer == greeting
    assert before - 1 < details["clock"]["came_at"] <= details["clock"]["answered_at"] < time.time() + 1
    assert details["mounts"]["root"]["folder"] == str(every_target.root)
    assert details["machine"]["cpus"] > 0
    assert details["disk"]["bytes"] >= details["disk"]["free_bytes"] > 0
    assert details["locale"] == "C"
    assert details["programs"]["venv"] is True
