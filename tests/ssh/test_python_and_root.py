"""No Python, too old a one, a root that cannot be written: a clear error; awkward file systems just work."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider.scriptrun.errors import TargetRefusedError
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from tests.network.sshd import Sshd

pytestmark = [pytest.mark.needs("sshd"), pytest.mark.slow]

#: A Python of today that takes itself for another: what it is asked to run sees that version.
OTHER_VERSION = """#!/usr/bin/python3
import sys
sys.version_info = {version}
if "-c" not in sys.argv:
    sys.exit("SyntaxError: invalid syntax")
at = sys.argv.index("-c")
text, sys.argv = sys.argv[at + 1], ["-c", *sys.argv[at + 2:]]
exec(text)
"""
PYTHON_2 = """#!/bin/sh
case "$1" in
-c) printf '\\nscriptrun-python 2.7.18\\n' ;;
*) echo 'Unknown option: -I' >&2; exit 2 ;;
esac
"""


def put(server: Sshd, name: str, text: str) -> str:
    """Write a program into the user's home folder; return its path."""
    path = Path(server.host.home, name)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def mount(server: Sshd) -> Iterator[object]:
    """Mount a small file system of its own into the user's home folder, for the user; return its path."""
    mounted = []

    def make(options: str = "size=32m") -> str:
        path = Path(server.host.home, f"mounted{len(mounted)}")
        path.mkdir()
        owner = f"uid={server.host.user_id},gid={server.host.group_id},mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"{owner},{options}", "none", path], check=True)
        mounted.append(path)
        return str(path)

    yield make
    for path in mounted:
        subprocess.run(["umount", "--lazy", path], check=True)
        path.rmdir()


# Python


def test_an_interpreter_that_is_not_there_is_named(worker, server):
    message = worker.refusal(server.connection(interpreter="/opt/none/bin/python3"), TargetRefusedError)
    assert f"/opt/none/bin/python3 on {server.user}@127.0.0.1:{server.port} is no working Python" in message
    assert "it ended with 127" in message
    assert "Name a Python 3.8 or later as the interpreter" in message


def test_an_interpreter_that_is_another_program_is_named(worker, server):
    message = worker.refusal(server.connection(interpreter="/bin/cat"), TargetRefusedError)
    assert "/bin/cat on" in message
    assert "is no working Python" in message


@pytest.mark.parametrize(
    ("program", "version"),
    [(OTHER_VERSION.format(version=(3, 6, 9)), "3.6.9"), (OTHER_VERSION.format(version=(3, 7, 17)), "3.7.17"),
     (PYTHON_2, "2.7.18")],
    ids=["3.6", "3.7", "2.7"],
)  # fmt: skip
def test_a_python_that_is_too_old_is_named_with_its_version(worker, server, program, version):
    interpreter = put(server, f"python{version}", program)
    message = worker.refusal(server.connection(interpreter=interpreter), TargetRefusedError)
    assert f"{interpreter} on {server.user}@127.0.0.1:{server.port} is Python {version}, and 3.8 or later" in message
    assert "Name another Python" in message


def test_an_interpreter_that_never_answers_is_given_up(worker, server, monkeypatch):
    from airflow_provider.scriptrun.errors import TargetUnreachableError
    from airflow_provider.scriptrun.targets import session

    monkeypatch.setattr(session, "PATIENCE_S", 1.0)
    interpreter = put(server, "slow-python", "#!/bin/sh\ncat > /dev/null\n")
    message = worker.refusal(server.connection(interpreter=interpreter), TargetUnreachableError)
    assert "did not answer for 1 seconds" in message


# The root


@pytest.mark.needs("another user")
def test_a_home_that_cannot_be_written_is_named_and_another_root_works(worker, server, tmp_path):
    home = Path(server.host.home)
    elsewhere = home.parent / "elsewhere"
    elsewhere.mkdir()
    os.chown(elsewhere, server.host.user_id, server.host.group_id)
    os.chown(home, 0, 0)
    home.chmod(0o755)
    try:
        message = worker.refusal(server.connection(root="~/fresh"), TargetRefusedError)
        assert f"The supervisor cannot be installed under ~/fresh on {server.user}@127.0.0.1" in message
        assert f"{home}/fresh: Permission denied" in message
        assert "Name a root that this user can write to" in message
        with worker.client(server.connection(root=f"{elsewhere}/root")) as client:
            assert client.finish("print('works')").log == b"works\n"
    finally:
        os.chown(home, server.host.user_id, server.host.group_id)
        home.chmod(0o700)


def test_a_home_that_is_not_there_is_named_and_another_root_works(worker, server):
    home, gone = Path(server.host.home), Path(server.host.home + ".gone")
    keys = (home / ".ssh" / "authorized_keys").read_text()
    server.restart({"AuthorizedKeysFile": str(gone / ".ssh" / "authorized_keys"), "StrictModes": "no"})
    elsewhere = home.parent / "elsewhere2"
    elsewhere.mkdir()
    os.chown(elsewhere, server.host.user_id, server.host.group_id)
    home.rename(gone)
    assert keys
    try:
        message = worker.refusal(server.connection(root="~/fresh"), TargetRefusedError)
        assert "Name a root that this user can write to" in message
        with worker.client(server.connection(root=f"{elsewhere}/root")) as client:
            assert client.finish("print('works')").log == b"works\n"
    finally:
        gone.rename(home)
        server.restart({})


def test_a_file_where_the_root_should_be_is_named(worker, server):
    put(server, "a-file", "")
    root = f"{server.host.home}/a-file/root"
    message = worker.refusal(server.connection(root=root), TargetRefusedError)
    assert f"The supervisor cannot be installed under {root}" in message
    assert "Not a directory" in message


def _make_read_only(root):
    """Remount it, as soon as the supervisor of the run that is over has closed its last file."""
    deadline = time.monotonic() + 30
    while subprocess.run(["mount", "-o", "remount,ro", root], capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline, "somebody still writes there"
        time.sleep(0.02)


@pytest.mark.needs("tmpfs")
def test_a_read_only_root_is_named_before_and_after_the_supervisor_was_installed(worker, server, mount):
    root = mount()
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
    message = worker.refusal(server.connection(root=f"{root}/root"), TargetRefusedError)
    assert "Read-only file system" in message
    assert "Name a root that this user can write to" in message
    subprocess.run(["mount", "-o", "remount,rw", root], check=True)
    with worker.client(server.connection(root=f"{root}/root")) as client:
        client.finish("print('works')")
        _make_read_only(root)
        with pytest.raises(TargetRefusedError, match="Read-only file system") as caught:
            client.start("print('again')")
        assert "Name a root in the connection that this user can write to" in str(caught.value)
        subprocess.run(["mount", "-o", "remount,rw", root], check=True)
        assert client.finish("print('again')").log == b"again\n"


@pytest.mark.needs("tmpfs")
def test_file_systems_from_which_nothing_is_executed_do_no_harm(worker, server, mount, options):
    temporary, root = mount("noexec,size=32m"), mount("noexec,size=64m")
    options(SetEnv=f"TMPDIR={temporary}")
    with worker.client(server.connection(root=root)) as client:
        followed = client.finish("import subprocess\nprint(subprocess.check_output(['python', '-V'], text=True))")
    assert followed.end.status is Status.COMPLETED
    assert followed.log.startswith(b"Python 3.")


@pytest.mark.needs("tmpfs")
@pytest.mark.slow
def test_an_environment_is_built_on_file_systems_from_which_nothing_is_executed(worker, server, mount, options):
    from tests import components

    components.require("network")
    from tests.conformance.client import from_pip

    temporary, root = mount("noexec,size=64m"), mount("noexec,size=256m")
    options(SetEnv=f"TMPDIR={temporary}")
    with worker.client(server.connection(root=root)) as client:
        followed = client.finish("import idna\nprint(idna.__version__)", environment=from_pip("idna"))
    assert followed.end.status is Status.COMPLETED, followed.build


def test_a_root_that_others_could_read_is_for_its_owner_alone_afterwards(worker, server):
    root = Path(server.host.home, "open-root")
    root.mkdir(mode=0o755)
    os.chown(root, server.host.user_id, server.host.group_id)
    worker.check(server.connection(root=str(root)))
    assert root.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(root)
