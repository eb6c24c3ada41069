"""A script on this machine, waited for in the triggerer, and one on another machine that reads what it left."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset, Param

from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator

#: A busy scheduler hears late that a task deferred, and fails it if it is back by then.
RETRIES = {"retry_delay": timedelta(seconds=1)}

with DAG("chained", schedule=None, params={"folder": Param("", type="string")}, default_args=RETRIES):
    train = ScriptRunOperator(
        task_id="train",
        deferrable=True,
        outlets=[Asset(name="chained model", uri="s3://models/chained")],
        config=ScriptRunConfig("chain", "train.py", arguments=["--folder", "{{ params.folder }}"]),
    )
    ScriptRunOperator(
        task_id="evaluate",
        config=ScriptRunConfig(
            "chain",
            "evaluate.py",
            arguments=[train.output["run_id"], train.output["metrics"]],
            inputs={"model": train.output["outputs"]},
            compute_target="vm",
        ),
    )
