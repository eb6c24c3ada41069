"""What all the DAGs of this folder are made with. Not a DAG file: see .airflowignore."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator

#: What leads a container to the folder that the job shares with its test.
MOUNT: dict[str, Any] = {"docker_runtime_config": {"arguments": ["-v", "{{ params.folder }}:{{ params.folder }}"]}}
#: Beginning of the lane's name -> (compute target, what else its configuration says).
TARGETS: dict[str, tuple[str, dict[str, Any]]] = {
    "local": ("local", {}),
    "ssh": ("vm", {}),
    "docker": ("engine", MOUNT),
}


def make_dags(kind: str, config: dict[str, Any] | None = None, **options: object) -> dict[str, DAG]:
    """Return a DAG for each lane, of one task each, which runs the job: in a worker, and deferred.

    :param config: what the job's configuration says beside its target.
    :param options: the operator's.
    """
    found = {}
    for (name, (target, special)), is_deferrable in product(TARGETS.items(), (False, True)):
        lane = f"{name}_deferred" if is_deferrable else name
        with DAG(f"{kind}_{lane}", schedule=None, params={"folder": Param("", type="string")}) as dag:
            ScriptRunOperator(
                task_id="job",
                deferrable=is_deferrable,
                config=ScriptRunConfig(
                    source_directory="job",
                    script="job.py",
                    arguments=["--folder", "{{ params.folder }}"],
                    compute_target=target,
                    **special,
                    **(config or {}),
                ),
                **{"retry_delay": timedelta(seconds=1), **options},
            )
        found[dag.dag_id] = dag
    return found
