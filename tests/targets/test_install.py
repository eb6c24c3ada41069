from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from airflow_provider.scriptrun.errors import TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.targets import session
from airflow_provider.scriptrun.targets.archive import supervisor_archive
from airflow_provider.scriptrun.targets.install import install
from airflow_provider.scriptrun.targets.local import LocalTarget
from airflow_provider.scriptrun.targets.transports.local import LocalTransport
from tests import components


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def folder(root: Path) -> Path:
    """Return where the supervisor of this release is installed."""
    return root / "supervisor" / supervisor_archive().version


def test_the_first_request_installs_the_supervisor_compiled_and_leaves_nothing_else(root):
    with LocalTarget(root) as target:
        target.check()
    assert [path.name for path in (root / "supervisor").iterdir()] == [supervisor_archive().version]
    sources = list(folder(root).rglob("*.py"))
    compiled = {path.name.split(".")[0] for path in folder(root).rglob("*.pyc")}
    assert {path.stem for path in sources} == compiled
    assert root.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_a_second_process_installs_nothing(root):
    with LocalTarget(root) as target:
        target.check()
    before = {path: path.stat().st_ino for path in folder(root).rglob("*")}
    with LocalTarget(root) as target:
        target.check()
    assert {path: path.stat().st_ino for path in folder(root).rglob("*")} == before


@pytest.mark.slow
def test_many_that_install_at_once_do_not_harm_each_other(root):
    errors: list[BaseException] = []

    def check() -> None:
        try:
            with LocalTarget(root) as target:
                target.check()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=check) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [path.name for path in (root / "supervisor").iterdir()] == [supervisor_archive().version]


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["a file is gone", "a file is empty", "a folder without anything"])
def test_an_installed_supervisor_that_does_not_start_is_replaced(root, harm):
    with LocalTarget(root) as target:
        target.check()
    if harm == "a file is gone":
        (folder(root) / "scriptrun_supervisor" / "serve.py").unlink()
    elif harm == "a file is empty":
        for path in folder(root).rglob("serve*.py*"):
            path.write_bytes(b"")
    else:
        subprocess.run(["rm", "-r", folder(root)], check=True)
        folder(root).mkdir()
    with LocalTarget(root) as target:
        target.check()
    assert (folder(root) / "scriptrun_supervisor" / "serve.py").stat().st_size > 1000
    assert [path.name for path in (root / "supervisor").iterdir()] == [supervisor_archive().version]


@pytest.mark.needs("python3.8")
def test_it_runs_on_python_3_8(root):
    python = components.find_python("3.8")
    with LocalTarget(root, python) as target:
        facts = target.check()
    assert facts.python.startswith("3.8.")
    assert list(folder(root).rglob("*.cpython-38.pyc"))


def program(path: Path, text: str) -> str:
    """Write an executable script and return its path."""
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        # What Python 3.7 would do: it parses the bootstrap, and says which it is.
        'case $* in *serve*) echo "can\'t open file" >&2; exit 2;; esac\n'
        'printf \'\\nscriptrun-install {"python": "3.7.17"}\\n\'; exit 3',
        # What Python 2.7 would do: it does not know -I, and runs the one-line question.
        "case $1 in -I) echo 'Unknown option: -I' >&2; exit 2;; esac\nprintf '\\nscriptrun-python 2.7.18\\n'",
    ],
    ids=["3.7.17", "2.7.18"],
)
def test_a_python_that_is_too_old_is_named_with_its_version(root, tmp_path, text, request):
    python = program(tmp_path / "python", f"#!/bin/sh\n{text}\n")
    version = request.node.callspec.id
    with LocalTarget(root, python) as target, pytest.raises(TargetRefusedError) as caught:
        target.check()
    assert version in str(caught.value)
    assert "3.8 or later" in str(caught.value)
    assert python in str(caught.value)
    assert not root.exists()


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7"])
def test_a_real_python_that_is_too_old_is_named_with_its_version(root, version):
    python = components.find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} was found")
    with LocalTarget(root, python) as target, pytest.raises(TargetRefusedError, match=rf"is Python {version}\.\d+"):
        target.check()


def test_the_bootstrap_tells_an_old_python_before_it_needs_anything_new():
    text = (Path(session.__file__).with_name("bootstrap.py")).read_text()
    before = text.index("sys.version_info < (3, 8)")
    assert text[:before].count("import") == text[:before].count("import sys") + text[:before].count("Never imported")
    compile(text, "bootstrap", "exec", dont_inherit=True)
    assert "f'" not in text
    assert 'f"' not in text


def test_an_interpreter_that_is_not_there_is_named(root):
    with LocalTarget(root, "/no/such/python") as target, pytest.raises(TargetRefusedError, match="/no/such/python"):
        target.check()


def test_a_program_that_is_no_python_is_quoted(root, tmp_path):
    python = program(tmp_path / "python", "#!/bin/sh\necho 'I am a teapot' >&2\nexit 41\n")
    with LocalTarget(root, python) as target, pytest.raises(TargetRefusedError) as caught:
        target.check()
    for part in (python, "41", "I am a teapot", "Python 3.8 or later"):
        assert part in str(caught.value)


def test_a_root_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with LocalTarget(tmp_path / "file" / "root") as target, pytest.raises(TargetRefusedError, match="file"):
        target.check()


@pytest.mark.needs("tmpfs")
def test_a_full_disk_is_told_with_what_to_do_and_nothing_half_installed_stays(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], check=True)
    try:
        with LocalTarget(small / "root") as target, pytest.raises(TargetRefusedError, match=r"[Ss]pace"):
            target.check()
        assert list((small / "root" / "supervisor").iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_an_install_into_a_folder_with_odd_letters_needs_no_quoting(tmp_path):
    odd = tmp_path / 'it\'s $HOME; `a` "root"\n\u00fc'
    with LocalTarget(odd) as target:
        assert target.check().root == str(odd)


@pytest.mark.slow
def test_a_supervisor_that_is_frozen_is_unreachable_in_bounded_time(root, monkeypatch):
    others = sessions_of_ours()
    with LocalTarget(root) as target:
        target.check()
        (pid,) = sessions_of_ours() - others
        os.kill(pid, signal.SIGSTOP)
        with monkeypatch.context() as patch:
            patch.setattr(session, "PATIENCE_S", 0.3)
            with pytest.raises(TargetUnreachableError, match="did not answer"):
                target.check()
        assert target.check().root == str(root)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_is_sent_to_the_workers_process_group_does_not_reach_it(root):
    others = sessions_of_ours()
    with LocalTarget(root) as target:
        target.check()
        (pid,) = sessions_of_ours() - others
        assert os.getsid(pid) == pid != os.getsid(0)
        assert os.getpgid(pid) == pid


@pytest.mark.slow
def test_a_killed_session_is_replaced(root):
    others = sessions_of_ours()
    with LocalTarget(root) as target:
        before = target.check()
        (pid,) = sessions_of_ours() - others
        os.kill(pid, signal.SIGKILL)
        assert target.check() == before or target.check().host == before.host


def sessions_of_ours() -> set[int]:
    """Return the process ids of the sessions that this process has open; those of another test may be about to end."""
    return {
        int(pid)
        for task in Path("/proc/self/task").iterdir()
        for pid in (task / "children").read_text().split()
        if b"\0serve\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    }


def test_installing_twice_is_installing_once(root):
    transport = LocalTransport()
    for _ in range(2):
        install(transport, sys.executable, str(root), supervisor_archive())
    assert [path.name for path in (root / "supervisor").iterdir()] == [supervisor_archive().version]
