"""A workspace and a local target of a benchmark's own, in a folder that is removed afterwards."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import ConfigurationError
from airflow_provider.scriptrun.runs.experiment import Experiment
from airflow_provider.scriptrun.runs.run import Run
from airflow_provider.scriptrun.runs.settings import Settings
from airflow_provider.scriptrun.runs.surroundings import ConnectionFields, use
from airflow_provider.scriptrun.runs.workspace import Workspace
from airflow_provider.scriptrun.runs.workspace_layout import run_folder

if TYPE_CHECKING:
    from airflow_provider.scriptrun.targets.surroundings import SshDialer


@dataclass(frozen=True)
class Place:
    """The surroundings of a run that a benchmark submits: no Airflow, no secrets, the connections that it adds."""

    settings: Settings
    base_directory: Path
    hosts_may_differ: bool = False
    is_terminal: bool = False
    connections: dict[str, ConnectionFields] = field(default_factory=dict)

    def connection(self, connection_id: str) -> ConnectionFields:
        """Return one of ``connections``."""
        if connection_id not in self.connections:
            raise ConfigurationError(f"no connection {connection_id}")
        return self.connections[connection_id]

    def ssh(self, connection_id: str) -> SshDialer:
        """Return what connects to the host of one of ``connections``; this needs Airflow's SSH provider."""
        from airflow_provider.scriptrun.hooks.ssh import SshDialer

        return SshDialer(self.connection(connection_id))

    def secret(self, reference: str) -> str:
        """There are none."""
        raise ConfigurationError(f"no secret {reference}")

    def mask(self, secret: str) -> None:
        """Nothing is logged."""

    @property
    def experiment(self) -> Experiment:
        """Where the runs belong."""
        return Experiment(Workspace(self.settings.workspace), "benchmark")


def workbench() -> str | None:
    """Return the folder to measure in: SCRIPTRUN_BENCH_FOLDER, else the tmpfs of /dev/shm where there is one.

    Files that are made, removed and made again are no fair measure on every file system: ext4 without a journal avoids
    inodes that were deleted lately, and takes a hundred times as long.
    """
    memory = "/dev/shm"
    return os.environ.get("SCRIPTRUN_BENCH_FOLDER") or (memory if os.path.ismount(memory) else None)


@contextlib.contextmanager
def place(**settings: Any) -> Iterator[Place]:
    """Hand over a place of one's own, in use for everything that is submitted meanwhile."""
    with tempfile.TemporaryDirectory(prefix="scriptrun-bench-", dir=workbench()) as folder:
        root = Path(folder)
        here = Place(
            Settings(
                workspace=str(root / "workspace"),
                cache_directory=str(root / "cache"),
                local_root=str(root / "target"),
                **settings,
            ),
            root,
        )
        before = use(here)
        try:
            yield here
        finally:
            use(before)


def kept(run: Run, name: str) -> Path:
    """Return the path of a file that was collected from a run."""
    return Path(run.workspace.url) / run_folder(run.experiment, run.id) / name
