"""What all the DAGs of this folder are made with. Not a DAG file: see .airflowignore."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator

#: Lane -> (compute target, deferrable).
LANES = {
    "local": ("local", False),
    "local_deferred": ("local", True),
    "ssh": ("vm", False),
    "ssh_deferred": ("vm", True),
}


def make_dags(kind: str, **options: object) -> dict[str, DAG]:
    """Return a DAG for each lane, of one task each, which runs the job; ``options`` are the operator's."""
    found = {}
    for lane, (target, is_deferrable) in LANES.items():
        with DAG(f"{kind}_{lane}", schedule=None, params={"folder": Param("", type="string")}) as dag:
            ScriptRunOperator(
                task_id="job",
                deferrable=is_deferrable,
                config=ScriptRunConfig(
                    source_directory="job",
                    script="job.py",
                    arguments=["--folder", "{{ params.folder }}"],
                    compute_target=target,
                ),
                **{"retry_delay": timedelta(seconds=1), **options},
            )
        found[dag.dag_id] = dag
    return found
