"""A named series of runs in a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider.scriptrun.config import ScriptRunConfig
from airflow_provider.scriptrun.errors import ConfigurationError
from airflow_provider.scriptrun.runs.names import check_experiment_name
from airflow_provider.scriptrun.runs.reporter import Printer
from airflow_provider.scriptrun.runs.run import Run
from airflow_provider.scriptrun.runs.submission import submit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider.scriptrun.runs.workspace import Workspace


class Experiment:
    """A named series of runs.

    :param name: a letter or digit, then at most 254 letters, digits, ``_`` and ``-``, as Azure ML has it.
    :raises ConfigurationError: for another name.
    """

    def __init__(self, workspace: Workspace, name: str) -> None:
        check_experiment_name(name)
        self.workspace, self.name = workspace, name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.workspace!r}, {self.name!r})"

    def submit(
        self,
        config: ScriptRunConfig,
        *,
        run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        refresh_environment: bool = False,
    ) -> Run:
        """Start a run from plain Python, with no scheduler, and return it without waiting for its end.

        :param run_id: an id of your own; submitted twice it is the same run.
        :param refresh_environment: resolve the environment's requirements again, whatever the target has kept.
        :raises ScriptRunError: see :func:`.submission.submit`.
        """
        if not isinstance(config, ScriptRunConfig):
            raise ConfigurationError(
                f"config must be a ScriptRunConfig, not {config!r:.100}",
                advice="Write ScriptRunConfig('training', script='train.py')",
            )
        return submit(
            config,
            workspace=self.workspace,
            experiment=self.name,
            run_id=run_id,
            tags=tags,
            reporter=Printer(),
            refresh_environment=refresh_environment,
        )

    def get_run(self, run_id: str) -> Run:
        """Open one of its runs. Raises :class:`RunNotFoundError`."""
        return Run.get(self.workspace, run_id, self.name)

    def get_runs(self) -> Sequence[Run]:
        """Return its runs, oldest first."""
        return Run.list(self.workspace, self.name)

    @staticmethod
    def list(workspace: Workspace) -> Sequence[Experiment]:
        """Return the experiments of a workspace, by name."""
        return [Experiment(workspace, name) for name in workspace.experiments()]
