"""Prepare data, train on a remote machine over SSH, report: `train_local`'s script and environment on another target.

The machine needs Python 3.8 or later and an SSH server; make an Airflow connection `training_vm` of the type
"Script run: SSH" to it. Or choose `local`, and nothing else changes: code and data come to either in the same way.
"""

from __future__ import annotations

from airflow.sdk import Param, dag
from readings import prepare_data
from run_report import report

from airflow_provider.scriptrun import Environment, ScriptRunConfig, ScriptRunOperator


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

    train = ScriptRunOperator(
        task_id="train",
        experiment="sensors",
        config=ScriptRunConfig(
            source_directory="training",
            script="train.py",
            arguments=["--data", "inputs/readings.csv", "--alpha", "{{ params.alpha }}"],
            inputs={"readings.csv": prepare_data()},  # a path here, brought there
            compute_target="{{ params.compute_target }}",
            environment=Environment.from_pip_requirements("sklearn", "training/requirements.txt"),
        ),
    )
    report(train.output)


train_on_vm()
