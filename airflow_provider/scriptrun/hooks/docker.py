"""ScriptRunDockerHook: a Docker engine, by the id of the Airflow connection that names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.hooks.scriptrun import ScriptRunHook

if TYPE_CHECKING:
    from airflow_provider.scriptrun.targets.contract import TargetFacts


class ScriptRunDockerHook(ScriptRunHook):
    """A Docker engine, by the id of a ``scriptrun_docker`` connection; see ``docs/targets/docker.md``."""

    default_conn_name = "scriptrun_docker_default"
    conn_type = "scriptrun_docker"
    hook_name = "Script run: Docker"

    def __init__(self, scriptrun_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(scriptrun_conn_id, **kwargs)

    def _told(self, facts: TargetFacts) -> str:
        from airflow_provider.scriptrun.targets.findings import summarize

        return summarize(facts)
