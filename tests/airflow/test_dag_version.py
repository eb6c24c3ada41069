"""Airflow makes a new version of a DAG whenever its serialised form changes: ours must not, without a reason."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

DAG_FILE = """
from airflow.sdk import DAG, task
from airflow_provider.scriptrun import Environment, RunConfiguration, ScriptRunConfig, ScriptRunOperator

environment = Environment.from_pip_requirements("sklearn", "requirements.txt")
configuration = RunConfiguration()
configuration.target = "gpu_box"
configuration.environment = environment

with DAG("dag", schedule=None, params={"rate": 0.1}) as dag:
    @task
    def prepare():
        return "data.csv"

    data = prepare()
    ScriptRunOperator(
        task_id="train",
        config=ScriptRunConfig(
            "code", "train.py",
            arguments=["--rate", "{{ params.rate }}", "--data", data],
            environment=environment,
            environment_variables={"B": "2", "A": "1"},
            secret_variables={"HF_TOKEN": "conn:hf/password"},
            tags={"team": "churn"},
        ),
    )
    ScriptRunOperator(task_id="assigned", config=ScriptRunConfig("code", "train.py", run_config=configuration))
    ScriptRunOperator.partial(task_id="mapped").expand(
        config=[ScriptRunConfig("code", "train.py", arguments=[n]) for n in range(3)]
    )
    ScriptRunOperator.partial(task_id="arguments", config=ScriptRunConfig("code", "train.py")).expand(
        arguments=[["--n", n] for n in range(3)]
    )
"""

CODE = """
import json, sys
from airflow.serialization.serialized_objects import DagSerialization
from airflow.models.serialized_dag import SerializedDagModel
from tests.airflow.workers import load_dag
from pathlib import Path
data = DagSerialization.to_dict(load_dag(Path(sys.argv[1])))
json.dumps(data)
DagSerialization.from_dict(data)
print(SerializedDagModel.hash(data))
print(json.dumps(data, sort_keys=True))
"""


@pytest.mark.slow
def test_the_dag_version_does_not_change_between_parses_of_an_unchanged_file(tmp_path: Path) -> None:
    path = tmp_path / "dag.py"
    path.write_text(DAG_FILE)
    parses = [
        subprocess.run(
            [sys.executable, "-c", CODE, str(path)],
            env={"PATH": "/usr/bin:/bin", "AIRFLOW_HOME": str(tmp_path), "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=False,
        )
        for seed in ("1", "2")
    ]
    assert [parse.returncode for parse in parses] == [0, 0], parses[0].stderr[-3000:]
    assert parses[0].stdout == parses[1].stdout
    assert " at 0x" not in parses[0].stdout
    assert "retries" in parses[0].stdout
