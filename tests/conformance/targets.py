"""The targets that the suite holds to the contract. A new target joins by one entry in ``TARGETS``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts import base_image, docker_engine
from tests.docker import index
from tests.docker.leaks import LABEL, Leaks, new_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider.scriptrun.targets.contract import ComputeTarget
    from tests.docker.vm import DockerVm
    from tests.network.host import Host
    from tests.network.sshd import Sshd

#: How long a supervisor may take to be gone after the run that it stood beside was seen over.
GONE_SECONDS = 10.0


class Place(ABC):
    """A target with a root of its own, and a way to look at its host that does not go through the target."""

    root: str  #: on the target's host
    root_mode = b"700"  #: of the root, as chmod takes it
    inherits_from_worker = False  #: whether its own environment is (a part of) ours

    @abstractmethod
    def open(self, *, host_id: str | None = None, version: str | None = None) -> ComputeTarget:
        """Return a new target object that knows nothing but where the target is."""

    @abstractmethod
    def run(self, *argv: str, check: bool = True) -> bytes:
        """Run a command on the target's host, as the user who runs the scripts; return what it printed."""

    @abstractmethod
    def document(self) -> str:
        """Return what :func:`find_place` needs to find this place again in another process."""

    @abstractmethod
    def remove(self) -> None:
        """Remove the root. Nothing of it runs any more."""

    def fifo(self, name: str) -> str:
        """Make a FIFO on the host and return its path: a script that opens it waits until :meth:`let_go`."""
        path = f"{self.root}.{name}"
        self.run("mkfifo", path)
        return path

    def let_go(self, fifo: str) -> None:
        """Let a script go on that reads from ``fifo``; it may come to it later."""
        self.run("timeout", "30", "sh", "-c", ': > "$0"', fifo)


class LocalPlace(Place):
    """This host."""

    inherits_from_worker = True

    def __init__(self, root: str | None = None) -> None:
        self.root = root or os.path.join(tempfile.mkdtemp(prefix="scriptrun-"), "root")

    def open(self, *, host_id: str | None = None, version: str | None = None) -> ComputeTarget:
        from airflow_provider.scriptrun.targets.local import LocalTarget

        return LocalTarget(self.root, inherit=("INHERITED_*",), host_id=host_id, version=version)

    def run(self, *argv: str, check: bool = True) -> bytes:
        return subprocess.run(argv, check=check, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout

    def document(self) -> str:
        return json.dumps({"target": "local", "root": self.root})

    def remove(self) -> None:
        shutil.rmtree(Path(self.root).parent)


class SshPlace(Place):
    """A host behind a real SSH server, with a user of its own: opened as an operator does, from an Airflow connection.

    It is on loopback, since a network of its own leads to no package index.

    :param server: what to remove with the place; ``None``: whoever made it does.
    """

    def __init__(self, host: Host, server: Sshd | None = None) -> None:
        self._host, self._server = host, server
        self.root = host.root
        self.connection_id = f"ssh_{host.port}"
        self._variable = f"AIRFLOW_CONN_{self.connection_id.upper()}"
        os.environ[self._variable] = json.dumps(host.connection())

    @classmethod
    def make(cls) -> SshPlace:
        from tests.network.sshd import Sshd

        server = Sshd(own_network=False)
        return cls(server.host, server)

    @classmethod
    def find(cls, document: Mapping[str, Any]) -> SshPlace:
        from tests.network.host import Host

        return cls(Host(**document["host"]))

    def open(self, *, host_id: str | None = None, version: str | None = None) -> ComputeTarget:
        from airflow_provider.scriptrun.hooks.surroundings import AirflowSurroundings
        from airflow_provider.scriptrun.targets.registry import open_target

        surroundings = AirflowSurroundings()
        surroundings.settings = replace(
            surroundings.settings, cache_directory=f"{Path(self._host.key_path).parent}/cache"
        )
        return open_target(self.connection_id, surroundings, host_id=host_id, version=version)

    def run(self, *argv: str, check: bool = True) -> bytes:
        return self._host.run(*argv, check=check)

    def document(self) -> str:
        return json.dumps({"target": "ssh", "host": asdict(self._host)})

    def remove(self) -> None:
        del os.environ[self._variable]
        if self._server is None:
            return
        deadline = time.monotonic() + GONE_SECONDS
        while (left := self._server.running()) and time.monotonic() < deadline:
            time.sleep(0.02)
        self._server.stop()
        assert not left, f"processes outlive their runs and the connection: {left}"


class DockerPlace(Place):
    """A volume of an engine, opened as an operator does, from an Airflow connection.

    Its host is looked at from a container that sees every process, and the volume where runs see it. Process ids, as
    scripts print them, mean something only within the containers of runs.

    :param url: of the engine, as this machine sees it.
    :param host: a machine over SSH by which the connection gets to the engine; ``None``: it is the worker's own.
    """

    root_mode = b"711"  # a script may be another user's: it goes through the root to its own folder, and sees nothing

    def __init__(
        self, volume: str, viewer: str, url: str, host: Host | None = None, *, cache: str | None = None
    ) -> None:
        self.root = "/scriptrun"
        self._volume, self._viewer, self._url, self._host = volume, viewer, url, host
        self._cache = cache or tempfile.mkdtemp(prefix="scriptrun-")
        self._connection = f"docker_{volume.replace('-', '_')}"
        extra = {"volume": volume, "base_image": base_image.reference(), "network": index.NETWORK}
        documents: dict[str, Any] = {self._connection: {"conn_type": "scriptrun_docker", "extra": extra}}
        if host is not None:
            machine = f"ssh_{host.port}"
            documents[machine] = host.connection()
            documents[self._connection]["host"] = f"ssh://{machine}"
        self._variables = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(one) for name, one in documents.items()}
        os.environ.update(self._variables)

    @classmethod
    def make(cls, machine: DockerVm | None = None) -> DockerPlace:
        url = machine.engine.url if machine else docker_engine.url()
        image, volume = base_image.reference(), new_volume()
        label = f"{LABEL}={volume}"
        docker_engine.ask("volume", "create", "--label", label, volume, at=url)
        options = ["--detach", "--pid", "host", "--init", "--network", "none", "--label", label]
        options += ["--volume", f"{volume}:/scriptrun"]
        viewer = docker_engine.ask("run", *options, image, "sleep", "infinity", at=url).strip()
        return cls(volume, viewer, url, machine.sshd.host if machine else None)

    @classmethod
    def find(cls, document: Mapping[str, Any]) -> DockerPlace:
        from tests.network.host import Host

        host = document["host"]
        at = Host(**host) if host else None
        return cls(document["volume"], document["viewer"], document["url"], at, cache=document["cache"])

    def open(self, *, host_id: str | None = None, version: str | None = None) -> ComputeTarget:
        from airflow_provider.scriptrun.hooks.surroundings import AirflowSurroundings
        from airflow_provider.scriptrun.targets.registry import open_target

        surroundings = AirflowSurroundings()
        surroundings.settings = replace(surroundings.settings, cache_directory=self._cache)
        return open_target(self._connection, surroundings, host_id=host_id, version=version)

    def run(self, *argv: str, check: bool = True) -> bytes:
        containers = self._runs() if argv[0] in ("ps", "kill") else [self._viewer]
        said = b""
        for container in containers:
            command = ["docker", "--host", self._url, "exec", "--interactive", container, *argv]
            result = subprocess.run(command, check=False, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
            if check and result.returncode:
                raise subprocess.CalledProcessError(result.returncode, command, result.stdout)
            said += result.stdout
        return said

    def fifo(self, name: str) -> str:
        self.run("mkdir", "-p", f"{self.root}/gates")
        path = f"{self.root}/gates/{name}"
        self.run("mkfifo", path)
        return path

    def document(self) -> str:
        way = {"url": self._url, "host": asdict(self._host) if self._host else None}
        return json.dumps(
            {"target": "docker", "volume": self._volume, "viewer": self._viewer, "cache": self._cache, **way}
        )

    def remove(self) -> None:
        for variable in self._variables:
            os.environ.pop(variable, None)  # that of the machine is another place's as well
        shutil.rmtree(self._cache)
        leaks = Leaks(self._url)
        try:
            leaks.clear(self._volume)
        finally:
            leaks.close()

    def _runs(self) -> list[str]:
        labels = [f"label={LABEL}={self._volume}", "label=scriptrun.kind=run"]
        return docker_engine.ask(
            "ps", "--quiet", *(word for label in labels for word in ("--filter", label)), at=self._url
        ).split()


@dataclass(frozen=True)
class Entry:
    """One target of the suite.

    :param make: makes a place with a fresh root; it is given what the fixture returns, where there is one.
    :param find: finds it again by its document, in another process.
    :param needs: components without which it cannot be tested here, see ``tests/components.py``.
    :param fixture: what its places stand on: made before them, and looked for leaks when they are gone.
    :param is_slow: the fast tests leave it out: another target shows the same in less time.
    :param is_another_way: it leads to what another entry is: only tests marked ``core`` are run with the others, the
        rest by ``make e2e``.
    """

    make: Callable[..., Place]
    find: Callable[[Mapping[str, Any]], Place]
    needs: tuple[str, ...] = ()
    fixture: str | None = None
    is_slow: bool = False
    is_another_way: bool = False


TARGETS: dict[str, Entry] = {
    "local": Entry(make=LocalPlace, find=lambda document: LocalPlace(document["root"])),
    "ssh": Entry(make=SshPlace.make, find=SshPlace.find, needs=("sshd",), is_slow=True),
    "docker": Entry(
        make=lambda _image: DockerPlace.make(),
        find=DockerPlace.find,
        needs=("docker",),
        fixture="base_image_name",
        is_slow=True,
    ),
    "docker over SSH": Entry(
        make=DockerPlace.make,
        find=DockerPlace.find,
        needs=("private engine", "sshd", "another user"),
        fixture="docker_vm",
        is_slow=True,
        is_another_way=True,
    ),
}


def find_place(document: str) -> Place:
    """Return the place that :meth:`Place.document` describes."""
    values = json.loads(document)
    return TARGETS[values["target"]].find(values)
