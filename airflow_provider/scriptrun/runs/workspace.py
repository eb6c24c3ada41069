"""The workspace: where snapshots, run records, logs and outputs are kept. A folder, or any object storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from airflow_provider.scriptrun.runs.surroundings import Surroundings


class Workspace:
    """A root under which everything about runs is kept, as whole objects that are written once.

    :param root: a path, or a URL of any file system that fsspec knows (``s3://bucket/folder``).
    :param storage_options: what fsspec needs to open it.
    :raises WorkspaceError: it cannot be written (checked when something is first written).
    """

    def __init__(self, root: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None) -> None:
        raise NotImplementedError

    @classmethod
    def from_config(cls, surroundings: Surroundings | None = None) -> Workspace:
        """Return the workspace that the ``[scriptrun]`` section names."""
        raise NotImplementedError
