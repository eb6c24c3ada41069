"""ScriptRunHook: a compute target, by the id of the Airflow connection that names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

if TYPE_CHECKING:
    from airflow_provider.scriptrun.config import ScriptRunConfig

    from airflow_provider.scriptrun.runs import Run
    from airflow_provider.scriptrun.targets.contract import ComputeTarget, TargetFacts


class ScriptRunHook(BaseHook):
    """A compute target, by the id of the Airflow connection that names it, or ``local``.

    Works in a task, in the API server (the Test button) and in plain Python alike; needs nothing but the id.

    :param scriptrun_conn_id: an Airflow connection id, or ``local``: this host with the settings of ``[scriptrun]``.
    """

    conn_name_attr = "scriptrun_conn_id"
    default_conn_name = "local"
    conn_type = "scriptrun_local"
    hook_name = "Script run: local"

    def __init__(self, scriptrun_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scriptrun_conn_id = scriptrun_conn_id

    def get_conn(self) -> ComputeTarget:
        """Return the opened target; whoever asked closes it. Raises ``ConfigurationError``."""
        raise NotImplementedError

    def check(self) -> TargetFacts:
        """Return what the target says about itself. Raises ``TargetError``, saying what is missing."""
        raise NotImplementedError

    def test_connection(self) -> tuple[bool, str]:
        """Answer the connection form's Test button: whether a run could start there, and one sentence."""
        raise NotImplementedError

    def submit(self, config: ScriptRunConfig, experiment: str = "default", **options: Any) -> Run:
        """Start one run of ``config`` on this target and return it without waiting. Raises as ``Experiment.submit``."""
        raise NotImplementedError
