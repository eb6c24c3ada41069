"""A named series of runs in a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider.scriptrun.config import ScriptRunConfig

    from airflow_provider.scriptrun.runs.run import Run
    from airflow_provider.scriptrun.runs.workspace import Workspace


class Experiment:
    """A named series of runs.

    :param name: a letter or digit, then at most 254 letters, digits, ``_`` and ``-``, as Azure ML has it.
    :raises ConfigurationError: for another name.
    """

    def __init__(self, workspace: Workspace, name: str) -> None:
        raise NotImplementedError

    def submit(
        self, config: ScriptRunConfig, *, run_id: str | None = None, tags: Mapping[str, str] | None = None
    ) -> Run:
        """Submit the configuration from plain Python; see :func:`~.submission.submit`."""
        raise NotImplementedError

    def get_run(self, run_id: str) -> Run:
        """Open one of its runs. Raises :class:`RunNotFoundError`."""
        raise NotImplementedError

    def get_runs(self) -> list[Run]:
        """Return its runs, oldest first."""
        raise NotImplementedError

    @staticmethod
    def list(workspace: Workspace) -> list[Experiment]:
        """Return the experiments of a workspace, by name."""
        raise NotImplementedError
