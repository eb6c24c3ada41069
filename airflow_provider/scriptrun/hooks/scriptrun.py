"""ScriptRunHook: a compute target, by the id of the Airflow connection that names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_provider.scriptrun.errors import ScriptRunError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider.scriptrun.config import ScriptRunConfig
    from airflow_provider.scriptrun.runs.run import Run
    from airflow_provider.scriptrun.targets.contract import ComputeTarget, TargetFacts


class ScriptRunHook(BaseHook):
    """A compute target, by the id of the Airflow connection that names it, or ``local``.

    Works in a task, in the API server (the Test button) and in plain Python alike; needs nothing but the id.

    :param scriptrun_conn_id: an Airflow connection id, or ``local``: this host with the settings of ``[scriptrun]``.
    """

    conn_name_attr = "scriptrun_conn_id"
    default_conn_name = "local"
    conn_type = "scriptrun_local"
    hook_name = "Script run: this host"

    def __init__(self, scriptrun_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scriptrun_conn_id = scriptrun_conn_id

    def get_conn(self) -> ComputeTarget:
        """Return the target, not contacted yet; whoever asked closes it. Raises ``ConfigurationError``."""
        from airflow_provider.scriptrun.runs.surroundings import current
        from airflow_provider.scriptrun.targets.registry import open_target

        return open_target(self.scriptrun_conn_id, current())

    def check(self) -> TargetFacts:
        """Return what the target says about itself. Raises ``TargetError`` that says what is missing."""
        with self.get_conn() as target:
            return target.check()

    def test_connection(self) -> tuple[bool, str]:
        """Answer the connection form's Test button: whether a run could start there, and what was found."""
        try:
            facts = self.check()
        except ScriptRunError as error:
            return False, str(error)
        return True, self._told(facts)

    def _told(self, facts: TargetFacts) -> str:
        # the web interface shows it all in one paragraph
        return "\n".join(line if line.endswith(".") else f"{line}." for line in str(facts).splitlines())

    def clean(self) -> Mapping[str, int]:
        """Remove from the target what is over the ``[scriptrun]`` budgets and ages, now; return how much of what.

        That also happens by itself after runs. Nothing goes that is in use, or was just used or sent. Raises
        ``TargetError``.
        """
        from airflow_provider.scriptrun.runs.request import disk_limits
        from airflow_provider.scriptrun.runs.surroundings import current

        with self.get_conn() as target:
            return target.clean(disk_limits(current().settings))

    def submit(
        self,
        config: ScriptRunConfig,
        experiment: str,
        *,
        run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        """Start one run of ``config`` on this target and return it without waiting. Raises as ``Experiment.submit``.

        The config's own target is left as it is: a copy runs.
        """
        from airflow_provider.scriptrun.runs.experiment import Experiment
        from airflow_provider.scriptrun.runs.workspace import Workspace

        config = config.model_copy(deep=True)
        config.run_config.target = self.scriptrun_conn_id
        return Experiment(Workspace.from_config(), experiment).submit(config, run_id=run_id, tags=tags)


class ScriptRunSshHook(ScriptRunHook):
    """A remote machine over SSH, by the id of a ``scriptrun_ssh`` connection; see ``docs/targets/ssh.md``."""

    default_conn_name = "scriptrun_ssh_default"
    conn_type = "scriptrun_ssh"
    hook_name = "Script run: SSH"

    def __init__(self, scriptrun_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(scriptrun_conn_id, **kwargs)
