"""What all the DAGs of this folder are made with. Not a DAG file: see .airflowignore."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator

#: Lane -> (compute target, deferrable).
LANES = {
    "local": ("local", False),
    "local_deferred": ("local", True),
    "ssh": ("vm", False),
    "ssh_deferred": ("vm", True),
}


def make_dags(
    kind: str,
    *,
    lanes: Mapping[str, tuple[str, bool]] = LANES,
    config: Mapping[str, Any] | None = None,
    **options: object,
) -> dict[str, DAG]:
    """Return a DAG for each lane, of one task each, which runs the job.

    :param config: more of its configuration.
    :param options: the operator's.
    """
    found = {}
    for lane, (target, is_deferrable) in lanes.items():
        with DAG(f"{kind}_{lane}", schedule=None, params={"folder": Param("", type="string")}) as dag:
            ScriptRunOperator(
                task_id="job",
                deferrable=is_deferrable,
                config=ScriptRunConfig(
                    source_directory="job",
                    script="job.py",
                    arguments=["--folder", "{{ params.folder }}"],
                    compute_target=target,
                    **(config or {}),
                ),
                **{"retry_delay": timedelta(seconds=1), **options},
            )
        found[dag.dag_id] = dag
    return found
