"""Prepare data, train on a remote machine over SSH, report: `train_local`'s script and environment on another target.

The machine needs Python 3.8 or later and an SSH server; make an Airflow connection `training_vm` of the type
"Script run: SSH" to it. Or choose `local`, and nothing else changes: code and data come to either in the same way.
"""

from __future__ import annotations

import os
import pathlib

from airflow.sdk import Param, dag, task
from run_report import report

from airflow_provider.scriptrun import Environment, ScriptRunConfig, ScriptRunOperator

STATE = pathlib.Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()


@dag(
    schedule=None,
    params={
        "alpha": Param(0.1, type="number", minimum=0, description="Strength of the regularisation"),
        "compute_target": Param(
            "training_vm",
            type="string",
            examples=["training_vm", "local"],  # proposals: any other connection id may be written
            description='The id of an SSH connection, or "local"',
        ),
    },
    tags=["scriptrun", "example"],
    doc_md=__doc__,
)
def train_on_vm():
    """The DAG; its name is its id."""

    @task
    def prepare_data(folder: str) -> str:
        """Write what ten sensors and a dial showed 500 times to a CSV file, each time the same; return its path."""
        import csv
        import pathlib
        import random

        chance = random.Random(7)
        weights = [chance.uniform(-3, 3) for _ in range(10)]
        path = pathlib.Path(folder) / "readings.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow([*(f"sensor_{number}" for number in range(10)), "dial"])
            for _ in range(500):
                sensors = [chance.gauss(0, 1) for _ in weights]
                dial = sum(w * value for w, value in zip(weights, sensors, strict=True)) + chance.gauss(0, 1)
                table.writerow([f"{value:.4f}" for value in (*sensors, dial)])
        return str(path)

    train = ScriptRunOperator(
        task_id="train",
        experiment="sensors",
        config=ScriptRunConfig(
            source_directory="training",
            script="train.py",
            arguments=["--data", "inputs/readings.csv", "--alpha", "{{ params.alpha }}"],
            inputs={"readings.csv": prepare_data(str(STATE / "data"))},  # a path here, brought there
            compute_target="{{ params.compute_target }}",
            environment=Environment.from_pip_requirements("sklearn", "training/requirements.txt"),
        ),
    )
    report(train.output)


train_on_vm()
