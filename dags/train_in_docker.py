"""Prepare data, train in a container of a Docker engine, report. The image needs a Python and no package.

Make an Airflow connection `docker_host` of the type "Script run: Docker"; with no field filled in, it is the worker's
own engine, and its base image is `python:3.11-slim`. Or choose `local`, and nothing else changes.
"""

from __future__ import annotations

from airflow.sdk import Param, dag
from readings import prepare_data
from run_report import report

from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator


@dag(
    schedule=None,
    params={
        "alpha": Param(0.1, type="number", minimum=0, description="Strength of the regularisation"),
        "compute_target": Param(
            "docker_host",
            type="string",
            examples=["docker_host", "training_vm", "local"],  # proposals: any other connection id may be written
            description='The id of a connection, or "local"',
        ),
    },
    tags=["scriptrun", "example"],
    doc_md=__doc__,
)
def train_in_docker():
    """The DAG; its name is its id."""

    train = ScriptRunOperator(
        task_id="train",
        experiment="sensors",
        config=ScriptRunConfig(
            source_directory="training",
            script="train_plain.py",
            arguments=["--data", "inputs/readings.csv", "--alpha", "{{ params.alpha }}"],
            inputs={"readings.csv": prepare_data()},  # a path here, brought there
            compute_target="{{ params.compute_target }}",
        ),
    )
    report(train.output)


train_in_docker()
