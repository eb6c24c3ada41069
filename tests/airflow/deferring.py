"""A task whose script waits, up to where it defers, and on from there."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider.scriptrun import (
    ScriptRunConfig,
    ScriptRunOperator,
)
from tests.airflow.harness import FakeAirflow, Outcome
from tests.airflow.project import SCRIPT, Project, until
from tests.airflow.triggerer import Triggerer, trigger_of


def operator(project: Project, script: str = SCRIPT, **options: Any) -> ScriptRunOperator:
    project.write_dag(script=script)
    with DAG("dag") as dag:
        made = ScriptRunOperator(
            task_id="train",
            config=ScriptRunConfig("code", "train.py", [str(project.traces)], **options.pop("config", {})),
            deferrable=options.pop("deferrable", True),
            **options,
        )
    dag.fileloc = str(project.dags / "dag.py")
    return made


def deferred(project: Project, task: ScriptRunOperator, airflow: FakeAirflow) -> Outcome:
    """Run a try whose script waits, up to where it defers."""
    project.hold()
    outcome = airflow.run(task)
    assert airflow.stored.state == "deferred", outcome.log
    until(project.starts, "the script's start")
    return outcome


def finish(airflow: FakeAirflow, task: ScriptRunOperator) -> Outcome:
    """Run a try to its end, through the triggerer where it defers."""
    outcome = airflow.run(task)
    if airflow.stored.state == "deferred":
        airflow.fire(Triggerer(trigger_of(airflow)).wait())
        outcome = airflow.run(task)
    return outcome


def with_secret(project: Project, monkeypatch: pytest.MonkeyPatch) -> tuple[FakeAirflow, ScriptRunOperator]:
    """Let a task defer whose run has a secret, ``hunter2-hunter2`` of the variable ``AIRFLOW_VAR_TOKEN``."""
    monkeypatch.setenv("AIRFLOW_VAR_TOKEN", "hunter2-hunter2")
    airflow = FakeAirflow()
    task = operator(project, config={"secret_variables": {"TOKEN": "var:TOKEN"}})
    deferred(project, task, airflow)
    return airflow, task
