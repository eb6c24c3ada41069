"""The workspace: where snapshots, run records, logs and outputs are kept. A folder, or any object storage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import WorkspaceError
from airflow_provider.scriptrun.runs import kept_snapshots
from airflow_provider.scriptrun.runs import workspace_layout as layout
from airflow_provider.scriptrun.runs.objects import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider.scriptrun.runs.objects import ObjectStore
    from airflow_provider.scriptrun.runs.surroundings import Surroundings
    from airflow_provider.scriptrun.snapshot import Snapshot


class Workspace:
    """A root under which everything about runs is kept, as whole objects that are written once.

    ``experiments/<experiment>/<run id>/`` holds a run's record, configuration, logs and outputs; ``snapshots/`` and
    ``packs/`` what ran. Nothing is made before something is first written.

    :param root: a path, or a URL of any file system that fsspec knows (``s3://bucket/folder``), or a ``upath.UPath``.
    :param storage_options: what fsspec needs to open it.
    :raises WorkspaceError: a URL of an unknown kind; later, by whatever reads or writes, that this cannot be done.
    """

    def __init__(self, root: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None) -> None:
        if not isinstance(root, (str, os.PathLike)) and not hasattr(root, "fs"):
            raise WorkspaceError(
                f"A workspace's root must be a path or a URL, not {root!r:.100}",
                advice="Write for instance Workspace('s3://team-bucket/scriptrun'), or Workspace.from_config()",
            )
        self.objects: ObjectStore = open_store(root, storage_options)

    @classmethod
    def from_config(cls, surroundings: Surroundings | None = None) -> Workspace:
        """Return the workspace that the ``[scriptrun]`` section names, in a task and in plain Python alike."""
        if surroundings is None:
            from airflow_provider.scriptrun.runs.surroundings import current

            surroundings = current()
        settings = surroundings.settings
        return cls(settings.workspace, storage_options=settings.storage_options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def url(self) -> str:
        """The root: an absolute path, or the URL."""
        return self.objects.url

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder, which other hosts may not see."""
        return self.objects.is_local

    def experiments(self) -> list[str]:
        """Return the names of the experiments that have runs here."""
        return self.objects.names(layout.EXPERIMENTS)

    def run_ids(self, experiment: str) -> list[str]:
        """Return the ids of an experiment's runs."""
        return self.objects.names(layout.experiment_folder(experiment))

    def keep_snapshot(
        self, snapshot: Snapshot, cache_directory: Path, progress: Callable[[int], None] | None = None
    ) -> kept_snapshots.Kept:
        """Keep a snapshot; see :func:`.kept_snapshots.keep`."""
        return kept_snapshots.keep(self.objects, snapshot, cache_directory, progress)

    def restore_snapshot(self, snapshot_id: str, destination: str | os.PathLike[str]) -> Path:
        """Write a snapshot's files into a folder that does not exist yet; every one is checked against its hash.

        Raises :class:`WorkspaceError` when the workspace lacks it, ``SnapshotError`` for a destination that exists.
        """
        from airflow_provider.scriptrun.snapshot import restore

        with kept_snapshots.KeptSnapshot(self.objects, snapshot_id) as kept:
            restore(kept.entries, kept.open_blob, Path(destination))
        return Path(destination)
