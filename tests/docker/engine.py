"""An engine of one's own: a dockerd with its own data, containers and socket, to be stopped, killed and frozen.

It leaves the machine's engine alone: it has no rules for packets, and a bridge of its own, from where containers reach
this machine and nothing else. Those that need more use ``--network host``.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import docker

from scripts import docker_engine
from scripts.airflow_home import free_port
from scripts.service import Service
from tests.docker import images
from tests.docker.certificates import Certificates
from tests.network import owner, processes

#: Folders of engines. Not the prefix of accounts, whose sweep knows nothing of mounts.
_FOLDERS, _PREFIX = Path(tempfile.gettempdir()), "docker-"
_GROUPS = Path("/sys/fs/cgroup")
_PATIENCE_S = 60.0
_PAUSE_S = 0.05
_PORT_ATTEMPTS = 5
_SHOWN_LOG_CHARACTERS = 3000
#: Networks of the bridges: set aside for private use, and rarely used.
_ADDRESS = "10.213.{}.1/24"
_ID_WITH_DATA_VERSION = 24
#: How the engine names the bridges of networks that it makes, in its notes of them.
_BRIDGE = re.compile(rb"\bbr-[0-9a-f]{12}\b")


class PrivateEngine:
    """An engine that answers when the constructor returns. It is left with :meth:`remove`, or as a context.

    :param load: references of images that it gets from the machine's engine.
    :param group: the id of a group whose users may use the socket; ``None``: root alone.
    :param live_restore: whether containers go on while the engine is stopped, as the setting of that name has it.
    :param tls: whether it listens on a port of 127.0.0.1 as well (``tcp_url``), to whom ``certificates`` let in.
    :param disk_bytes: the size of a disk of its own for its data; ``None``: it shares this machine's.
    :param options: more of dockerd's.
    """

    def __init__(
        self,
        *,
        load: Sequence[str] = (),
        group: int | None = None,
        live_restore: bool = False,
        tls: bool = False,
        disk_bytes: int | None = None,
        options: Sequence[str] = (),
    ) -> None:
        _sweep_once()
        self.name = owner.new_name()
        self.folder = _FOLDERS / f"{_PREFIX}{self.name}"
        self.bridge = _bridge(self.name)
        self.folder.mkdir()
        self.folder.chmod(0o755)  # whatever the umask: a group may have to get through
        self.socket = self.folder / "docker.sock"
        self.url = f"unix://{self.socket}"
        self.certificates = Certificates(self.folder / "certificates") if tls else None
        self.port = 0
        self.is_restoring_live = live_restore
        self._group, self._options = group, list(options)
        self._service: Service | None = None
        try:
            _make_bridge(self.bridge)
            if disk_bytes is not None:
                self.data.mkdir()
                subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk_bytes}", "none", self.data], check=True)
            self.start()
            for name in load:
                images.copy(name, self.url)
        except BaseException:
            self.remove()
            raise

    @property
    def data(self) -> Path:
        """Where it keeps images, containers and volumes."""
        return self.folder / "data"

    @property
    def tcp_url(self) -> str:
        """Where it listens with TLS, as ``DOCKER_HOST`` has it."""
        assert self.certificates is not None, "this engine listens on no port"
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def gateway(self) -> str:
        """The address of this machine on the engine's bridge: none of loopback's."""
        shown = subprocess.run(
            ["ip", "-o", "-4", "address", "show", self.bridge], capture_output=True, text=True, check=True
        ).stdout
        return shown.split(" inet ")[1].partition("/")[0].strip()

    @property
    def pid(self) -> int:
        """The process id of dockerd."""
        return self._running().pid

    def client(self, **options: object) -> docker.DockerClient:
        """Return a client of it; whoever asks closes it."""
        return docker.DockerClient(base_url=self.url, **options)

    def log(self) -> str:
        """Return what dockerd wrote so far."""
        path = self.folder / "dockerd.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def processes(self) -> list[processes.Process]:
        """Return all that lives of it: itself, what it runs containers with, and what runs in them."""
        return _processes(self.name)

    # What can happen to an engine

    def start(self) -> None:
        """Start it, at the same addresses each time; return when it answers."""
        # where the system's first process buries nobody, the note of a dead one would be taken for a living one
        (self.folder / "exec/containerd/containerd.pid").unlink(missing_ok=True)
        for left in reversed(range(1 if self.port or self.certificates is None else _PORT_ATTEMPTS)):
            port = self.port or (free_port() if self.certificates else 0)
            written = len(self.log())
            self._service = Service(
                "dockerd", self._command(port), environment=os.environ, folder=self.folder,
                log=self.folder / "dockerd.log",
            )  # fmt: skip
            self._service.start()
            if self._answers():
                self.port = port
                return
            self._service.kill()
            assert left, f"dockerd does not start:\n{self.log()[written:][-_SHOWN_LOG_CHARACTERS:]}"

    def stop(self) -> None:
        """Stop it as a system does. Its containers are asked to end; with ``live_restore``, they go on."""
        self._running().stop(_PATIENCE_S)
        self._await_end()

    def kill(self) -> None:
        """Kill dockerd alone. Containers go on; without ``live_restore``, the next start ends them."""
        self._running().kill(alone=True)
        self._await_end()

    def restart(self) -> None:
        """Stop it and start it, as an upgrade does."""
        self.stop()
        self.start()

    def crash(self) -> None:
        """End it and all containers at once, as a power cut does; ``start`` brings it back."""
        processes.kill(self.processes)
        if self._service is not None:
            self._service.kill()

    def revive(self) -> None:
        """Start it, if it does not answer: a test that failed in the middle has left it so."""
        if docker_engine.why_missing(self.url) is not None:
            self.crash()
            self.start()

    def freeze(self) -> None:
        """Stop dockerd where it is: the kernel lets clients in, and nobody answers. Containers go on."""
        daemon = self.pid
        processes.freeze(lambda: [process for process in processes.processes() if process.pid == daemon])

    def thaw(self) -> None:
        """Let go on what :meth:`freeze` stopped."""
        os.kill(self.pid, signal.SIGCONT)

    def remove(self) -> None:
        """End it and all that it runs; remove its data, mounts, control groups and network interfaces."""
        self.crash()
        _remove(self.name)

    def __enter__(self) -> PrivateEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    # How it starts

    def _command(self, port: int) -> list[str]:
        program = _program()
        assert program is not None, "there is no dockerd"
        settings = self.folder / "daemon.json"  # the machine's own is for its own engine
        settings.write_text(json.dumps(_identity(program, self.folder)))
        command = [program, "--config-file", str(settings), "--host", self.url]
        command += ["--data-root", str(self.data)]
        command += ["--exec-root", str(self.folder / "exec"), "--pidfile", str(self.folder / "dockerd.pid")]
        # with `none` it would remove the default bridge of the machine's engine
        command += ["--bridge", self.bridge, "--iptables=false", "--ip6tables=false"]
        # by its control group, all that runs in containers is known as this engine's
        command += ["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", f"/{self.name}"]
        command += ["--group", str(os.getgid() if self._group is None else self._group)]
        if self.is_restoring_live:
            command.append("--live-restore")
        if self.certificates is not None:
            own = self.certificates
            command += ["--host", f"tcp://127.0.0.1:{port}", "--tlsverify", "--tlscacert", str(own.ca)]
            command += ["--tlscert", str(own.server_cert), "--tlskey", str(own.server_key)]
        return [*command, *self._options]

    def _answers(self) -> bool:
        """Wait until it does, or has ended."""
        deadline = time.monotonic() + _PATIENCE_S
        while self._running().is_running and time.monotonic() < deadline:
            if self.socket.exists() and docker_engine.why_missing(self.url) is None:
                return True
            time.sleep(_PAUSE_S)
        return False

    def _await_end(self) -> None:
        """Wait until what dies with dockerd is gone as well; the next one starts its own."""
        deadline = time.monotonic() + _PATIENCE_S
        while left := [one for one in _daemons(self.name) if not one.name.startswith("containerd-shim")]:
            assert time.monotonic() < deadline, f"still alive: {left}"
            time.sleep(_PAUSE_S)

    def _running(self) -> Service:
        assert self._service is not None, "the engine was not started"
        return self._service


@functools.cache
def why_impossible() -> str | None:
    """Return why no engine can be started here, or ``None``."""
    if os.geteuid() != 0:
        return "only root can start an engine"
    if shutil.which("ip") is None:
        return "there is no program ip: on Debian and Ubuntu, install iproute2"
    return None if _program() else "there is no dockerd: on Debian and Ubuntu, install docker.io"


def sweep() -> None:
    """Remove the engines of test runs that were killed."""
    with owner.one_at_a_time("engines"):
        for folder in _FOLDERS.glob(f"{_PREFIX}{owner.PREFIX}-*"):
            name = folder.name.removeprefix(_PREFIX)
            if owner.is_orphan(name):
                processes.kill(functools.partial(_processes, name))
                _remove(name)


def left_of(name: str) -> list[str]:
    """Return what is there of an engine, as text for a person."""
    folder = _FOLDERS / f"{_PREFIX}{name}"
    left = [str(folder)] if folder.exists() else []
    left += [f"mount {path}" for path in _mounts(folder)]
    left += [f"control group {path}" for path in _groups(name)]
    left += [str(path) for path in [Path("/sys/class/net", _bridge(name))] if path.exists()]
    return left + [str(process) for process in _processes(name)]


@functools.cache
def _sweep_once() -> None:
    sweep()  # before the first engine of this process


def _program() -> str | None:
    return shutil.which("dockerd", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))


def _bridge(name: str) -> str:
    """Return the name of an engine's bridge; interfaces have short ones."""
    return f"srd-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def _make_bridge(bridge: str) -> None:
    with owner.one_at_a_time("bridges"):
        taken = subprocess.run(["ip", "-o", "-4", "address"], capture_output=True, text=True, check=True).stdout
        free = next(address for address in map(_ADDRESS.format, range(1, 255)) if address not in taken)
        subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=True, capture_output=True)
        subprocess.run(["ip", "address", "add", free, "dev", bridge], check=True, capture_output=True)
        subprocess.run(["ip", "link", "set", bridge, "up"], check=True, capture_output=True)


def _identity(program: str, folder: Path) -> dict[str, str]:
    """Return the setting that makes an engine another one; since version 24 its id lies with its data."""
    version = subprocess.run([program, "--version"], capture_output=True, text=True, cwd="/", check=True).stdout
    found = re.search(r"\bversion (\d+)", version)
    is_old = found is not None and int(found[1]) < _ID_WITH_DATA_VERSION
    return {"deprecated-key-path": str(folder / "key.json")} if is_old else {}


def _processes(name: str) -> list[processes.Process]:
    inside = {int(pid) for group in _groups(name) for pid in _members(group)}
    return _daemons(name) + [process for process in processes.processes() if process.pid in inside]


def _daemons(name: str) -> list[processes.Process]:
    """Return the programs of an engine: dockerd, containerd, what it starts for each container and each port."""
    found, word = [], f"{_PREFIX}{name}/".encode()
    for process in processes.processes():
        if process.name.startswith(("dockerd", "containerd")):
            with suppress(OSError):  # it is gone
                if word in Path(f"/proc/{process.pid}/cmdline").read_bytes():
                    found.append(process)
    return found


def _groups(name: str) -> list[Path]:
    """Return the control groups of an engine, the inner ones first: one, or with version 1 one of each controller."""
    tops = [path for path in (_GROUPS / name, *_GROUPS.glob(f"*/{name}")) if path.is_dir()]
    found = [path for top in tops for path in (top, *_folders_below(top))]
    return sorted(set(found), key=lambda path: len(path.parts), reverse=True)


def _folders_below(top: Path) -> Iterator[Path]:
    for folder, names, _ in os.walk(top):
        yield from (Path(folder, name) for name in names)


def _members(group: Path) -> list[str]:
    with suppress(OSError):  # it is gone
        return (group / "cgroup.procs").read_text().split()
    return []


def _mounts(folder: Path) -> list[str]:
    """Return where something is mounted in a folder, the last one first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in reversed(points) if point.startswith(f"{folder}/")]


def _remove(name: str) -> None:
    """Remove all of an engine whose processes are gone."""
    folder = _FOLDERS / f"{_PREFIX}{name}"
    notes = folder / "data/network/files/local-kv.db"
    made = {found.decode() for found in _BRIDGE.findall(notes.read_bytes())} if notes.exists() else set()
    for point in _mounts(folder):
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
    for bridge in {_bridge(name), *made}:
        subprocess.run(["ip", "link", "delete", bridge], check=False, capture_output=True)
    deadline = time.monotonic() + _PATIENCE_S
    while groups := _groups(name):
        for group in groups:
            with suppress(OSError):  # the kernel still buries its last process
                group.rmdir()
        assert time.monotonic() < deadline, f"still there: {groups}"
        time.sleep(_PAUSE_S)
    shutil.rmtree(folder, ignore_errors=True)
    assert not folder.exists(), f"still there: {folder}"
