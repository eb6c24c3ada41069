"""An engine that a test breaks, as a person at its machine sees it, and where a run's script counts and waits there."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from airflow_provider.scriptrun import DockerConfiguration, Run
from tests.conformance.client import Client
from tests.docker.engine import PrivateEngine
from tests.docker.leaks import Leaks, containers_of, new_volume, until_none
from tests.ssh.watched import MODEL, PATIENCE_S, SCRIPT, Watching, whole_log
from tests.ssh.worker import Worker

#: The id of the connection to it.
NAME = "engine"


class EngineSite:
    """One volume of a private engine, and a folder of its machine that scripts find at ``/site``.

    :param image: that containers are made from.
    """

    def __init__(self, engine: PrivateEngine, worker: Worker, folder: Path, image: str) -> None:
        self.engine, self.worker, self.volume = engine, worker, new_volume()
        self.folder = folder / "site"
        self.folder.mkdir()
        self._gates = 0
        self._extra = {"volume": self.volume, "base_image": image, "network": "none"}
        self.connect()

    def connect(self, **extra: str) -> None:
        """Make the connection to it, with more of its extra or other values."""
        self.worker.connect(self._document(extra), NAME)

    def client(self) -> AbstractContextManager[Client]:
        """Open it for a client that leaves no run behind."""
        return self.worker.client(self._document({}))

    def _document(self, extra: Mapping[str, str]) -> dict[str, Any]:
        return {"conn_type": "scriptrun_docker", "host": self.engine.url, "extra": {**self._extra, **extra}}

    def gated(self, lines: int = 100) -> GatedRun:
        """Submit a script that says that it has begun, then waits to be let go on."""
        self._gates += 1
        return GatedRun(self, self.folder, f"gate{self._gates}", lines)

    def mountpoint(self) -> Path:
        """Return where the volume is on the engine's machine, which need not run."""
        return next(self.engine.folder.glob(f"data/**/volumes/{self.volume}/_data"))

    def containers(self, kind: str) -> list[str]:
        """Return the ids of the containers of a kind, running or not."""
        client = self.engine.client()
        try:
            return containers_of(client, self.volume, kind)
        finally:
            client.close()

    def until_none(self, kind: str) -> None:
        """Return once the engine has removed all containers of a kind."""
        until_none(lambda: self.containers(kind))

    def remove(self) -> None:
        """Remove all of it from the engine, which runs. No container of a run is left by then."""
        leaks = Leaks(self.engine.url)
        try:
            leaks.clear(self.volume)
        finally:
            leaks.close()


class GatedRun:
    """A run whose script has begun and waits. See :data:`tests.ssh.watched.SCRIPT`."""

    def __init__(self, site: EngineSite, folder: Path, name: str, lines: int) -> None:
        self._count, self._gate, self._lines = folder / f"{name}.count", folder / f"{name}.gate", lines
        subprocess.run(["mkfifo", self._gate], check=True)
        self.run: Run = site.worker.submit(
            {"main.py": SCRIPT},
            target=NAME,
            arguments=[f"/site/{self._count.name}", f"/site/{self._gate.name}", str(lines)],
            docker_runtime_config=DockerConfiguration(arguments=["--volume", f"{folder}:/site"]),
        )
        self.watching = Watching(self.run)
        self.watching.heard("begun")

    @property
    def executions(self) -> int:
        """How often the script was executed."""
        return len(self._count.read_text())

    def let_go(self) -> None:
        """Let the script go on."""
        subprocess.run(["timeout", str(PATIENCE_S), "sh", "-c", ': > "$0"', self._gate], check=True)

    def assert_whole(self) -> None:
        """One execution, its whole log and its outputs, under a record that says Completed."""
        record = self.watching.record()
        assert record["status"] == "Completed", record
        assert self.executions == 1
        assert _read(self.run, "run.log") == hashlib.sha256(whole_log(self._lines)).digest()
        assert _read(self.run, "outputs/model") == hashlib.sha256(MODEL).digest()

    def assert_lost(self, why: str) -> None:
        """One execution that ended with its container, in a state that says so; its log as far as it had come."""
        record = self.watching.record()
        assert (record["status"], record["reason"]) == ("Failed", "lost"), record
        assert why in record["message"]
        assert self.executions == 1
        assert b"".join(self.run.folder.read("run.log")) == b"begun\n"


def _read(run: Run, path: str) -> bytes:
    return hashlib.sha256(b"".join(run.folder.read(path))).digest()


def forge_boot(site: EngineSite, run_id: str) -> None:
    """Let a run's status say that it is of an earlier boot: containers share this machine's kernel, which has one."""
    path = site.mountpoint() / "runs" / run_id / "status.json"
    status = json.loads(path.read_text())
    status["host"]["boot_id"] = "00000000-0000-0000-0000-000000000000"
    path.write_text(json.dumps(status))
