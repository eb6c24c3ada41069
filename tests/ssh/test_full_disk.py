"""No space left, in each phase: said by name, with what to do; and it works once there is space."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider.scriptrun.errors import TargetRefusedError
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from tests.conformance.client import from_pip
from tests.network.sshd import Sshd

pytestmark = [pytest.mark.needs("sshd", "tmpfs"), pytest.mark.slow]

MEGABYTE = 1024 * 1024
SIZE_BYTES = 8 * MEGABYTE


class Disk:
    """A root that is a small file system of its own."""

    def __init__(self, path: Path, server: Sshd) -> None:
        self.root = path
        self._filling = path / "filling"
        owner = f"uid={server.host.user_id},gid={server.host.group_id},mode=700"
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES},{owner}", "none", path], check=True)

    def fill(self, leave: int = 0) -> None:
        """Leave about so many bytes."""
        free = os.statvfs(self.root).f_bavail * os.statvfs(self.root).f_frsize
        with self._filling.open("ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), max(1, free - leave))

    def clear(self) -> None:
        """Give it back."""
        self._filling.unlink()

    def remove(self) -> None:
        subprocess.run(["umount", "--lazy", self.root], check=True)
        self.root.rmdir()


@pytest.fixture
def disk(server: Sshd) -> Iterator[Disk]:
    disk = Disk(Path(server.host.home, "small"), server)
    yield disk
    disk.remove()


@pytest.fixture
def client(worker, server, disk):
    with worker.client(server.connection(root=str(disk.root))) as client:
        yield client


def test_the_supervisor_that_cannot_be_installed(worker, server, disk):
    disk.fill(16 * 1024)
    message = worker.refusal(server.connection(root=str(disk.root)), TargetRefusedError)
    assert f"The supervisor cannot be installed under {disk.root} on {server.user}@127.0.0.1" in message
    assert "No space left on device" in message
    assert "Free some space there" in message
    disk.clear()
    assert worker.check(server.connection(root=str(disk.root))).user == server.user


def test_a_snapshot_that_cannot_be_sent(client, disk):
    client.target.check()
    disk.fill(MEGABYTE)
    files = {"data": os.urandom(3 * MEGABYTE)}
    request, tree = client.request("print('works')", files=files)
    with pytest.raises(TargetRefusedError, match="No space left on device") as caught:
        client.submit(request, tree)
    assert "Free some space there, or name another root" in str(caught.value)
    disk.clear()
    assert client.follow(client.submit(request, tree).run_id).log == b"works\n"


def test_a_run_that_cannot_be_started(client, disk):
    client.target.check()
    request, tree = client.request("print('works')")
    client.target.send(tree)
    disk.fill()
    with pytest.raises(TargetRefusedError, match="No space left on device") as caught:
        client.submit(request, tree)
    assert "Free some space there" in str(caught.value)
    disk.clear()
    assert client.follow(client.submit(request, tree).run_id).log == b"works\n"


def test_a_working_copy_that_cannot_be_made(client, disk):
    client.target.check()
    request, tree = client.request("print('works')", files={"data": os.urandom(2 * MEGABYTE)})
    client.target.send(tree)
    disk.fill(MEGABYTE)
    end = client.follow(client.submit(request, tree).run_id).end
    assert end.status is Status.FAILED
    assert "No space left on device" in end.message
    assert str(disk.root) in end.message


def test_a_log_that_fills_the_disk(client, disk):
    client.target.check()
    disk.fill(2 * MEGABYTE)
    followed = client.finish(argv=("sh", "-c", "yes | head -c 100000000; echo survived"))
    assert (followed.end.status, followed.end.reason) == (Status.FAILED, Reason.TARGET)
    assert "run.log: No space left on device" in followed.end.message
    assert followed.log.startswith(b"y\ny\n")
    assert b"survived" not in followed.log


def test_outputs_that_fill_the_disk(client, server, disk):
    client.target.check()
    disk.fill(MEGABYTE)
    gate = f"{server.host.home}/gate"
    server.run("mkfifo", gate)
    script = (
        "import sys\nprint('begun', flush=True)\nopen(sys.argv[1]).read()\n"
        "open('outputs/model', 'wb').write(bytes(3 << 20))"
    )
    started = client.start(script, argv=("python", "main.py", gate))
    # the log has a block of the disk by then, in which there is room for the script's last words
    client.wait_for(started.run_id, "begun")
    server.run("sh", "-c", f": > {gate}")
    followed = client.follow(started.run_id)
    assert (followed.end.status, followed.end.reason, followed.end.exit_code) == (Status.FAILED, Reason.SCRIPT, 1)
    assert b"No space left on device" in followed.log


@pytest.mark.slow
@pytest.mark.needs("network")
def test_an_environment_that_cannot_be_built(client, disk):
    client.target.check()
    disk.fill(3 * MEGABYTE)
    try:
        end = client.finish("print('x')", environment=from_pip("setuptools")).end
    except TargetRefusedError as error:  # the program that would build it could not even be sent
        said = str(error)
    else:
        assert (end.status, end.reason) == (Status.FAILED, Reason.ENVIRONMENT)
        said = end.message
    assert "No space left on device" in said
    disk.clear()
    assert client.finish("print('works')").log == b"works\n"


@pytest.mark.slow
def test_a_run_that_ends_on_a_full_disk_is_known_with_its_whole_log(worker, server, disk):
    worker.connect(server.connection(root=str(disk.root)))
    run = worker.submit(
        {
            "main.py": "import os, sys, time\nprint('x' * 1000, flush=True)\n"
            # the log has a block of the disk by then, in which there is room for the script's last words
            "while not os.stat('../run.log').st_size: time.sleep(0.01)\n"
            "file = open('outputs/filling', 'wb', buffering=0)\n"
            "try:\n    while True: file.write(bytes(4096))\nexcept OSError as error: print(error)\nsys.exit(5)"
        }
    )
    details = run.wait_for_completion(raise_on_error=False)
    assert (details["status"], details["record"]["exit_code"]) == ("Failed", 5)
    (log,) = [path for path in run.get_all_logs(worker.folder / "logs") if path.name == "run.log"]
    assert log.read_bytes() == b"x" * 1000 + b"\n[Errno 28] No space left on device\n"
