"""Many runs of one script at once, mapped: ``crowd`` in every lane, ``deferred_crowd`` in those of the triggerer."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator

#: DAG -> (how many, whether tasks wait in the triggerer: by turns).
CROWDS = {"crowd": (20, (False, True)), "deferred_crowd": (100, (True,))}
TARGETS = ("local", "vm")

for dag_id, (count, ways) in CROWDS.items():
    with DAG(dag_id, schedule=None, params={"folder": Param("", type="string")}):
        ScriptRunOperator.partial(
            task_id="job",
            config=ScriptRunConfig("crowd", script="crowd.py"),
            retries=40,  # each fault may cost one
            retry_delay=timedelta(seconds=1),
        ).expand_kwargs(
            [
                {
                    "arguments": ["--folder", "{{ params.folder }}", "--number", number],
                    "compute_target": TARGETS[number // 2 % 2],
                    "deferrable": ways[number % len(ways)],
                }
                for number in range(count)
            ]
        )
