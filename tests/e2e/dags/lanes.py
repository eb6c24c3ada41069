"""One DAG for each way to run a script, called after its lane: ``job_ssh_deferred``; ``brief_...`` has a time limit."""

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
#: What is different in a DAG of this kind.
KINDS = {
    "job": {},
    "brief": {"execution_timeout": timedelta(seconds=20), "retries": 0},
}

for kind, options in KINDS.items():
    for lane, (target, is_deferrable) in LANES.items():
        with DAG(f"{kind}_{lane}", schedule=None, params={"folder": Param("", type="string")}):
            ScriptRunOperator(
                task_id="job",
                retry_delay=timedelta(seconds=1),
                deferrable=is_deferrable,
                config=ScriptRunConfig(
                    source_directory="job",
                    script="job.py",
                    arguments=["--folder", "{{ params.folder }}"],
                    compute_target=target,
                ),
                **options,
            )
