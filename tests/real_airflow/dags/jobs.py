"""The DAGs that the tests drive in a real Airflow."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param, task

from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator

for dag_id, is_deferrable in {"job": False, "job_deferred": True}.items():
    with DAG(dag_id, schedule=None, params={"folder": Param("", type="string")}):
        job = ScriptRunOperator(
            task_id="job",
            deferrable=is_deferrable,
            retry_delay=timedelta(seconds=1),
            config=ScriptRunConfig(
                source_directory="job", script="job.py", arguments=["--folder", "{{ params.folder }}"]
            ),
        )

        @task
        def read(record: dict, outputs: dict) -> str:
            """What a downstream task sees of the record."""
            assert record["outputs"] == outputs
            return f"{record['status']} {[file['path'] for file in outputs['files']]}"

        read(job.output, job.output["outputs"])
