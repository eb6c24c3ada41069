"""Prepare data, train on this machine, report: an Airflow DAG around an ordinary training script."""

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
        "compute_target": Param("local", type="string", description='An Airflow connection id, or "local"'),
    },
    tags=["scriptrun", "example"],
    doc_md=__doc__,
)
def train_local():
    """The DAG; its name is its id."""

    @task.virtualenv(requirements=["scikit-learn>=1.5,<2"], python_version="3", venv_cache_path=STATE / "virtualenvs")
    def prepare_data(folder: str) -> str:
        """Write scikit-learn's bundled diabetes data set to a CSV file and return its path."""
        import pathlib

        import numpy
        from sklearn.datasets import load_diabetes

        data = load_diabetes()
        path = pathlib.Path(folder) / "diabetes.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = numpy.column_stack([data.data, data.target])
        numpy.savetxt(path, table, delimiter=",", header=",".join([*data.feature_names, "progression"]), comments="")
        return str(path)

    data = prepare_data(str(STATE / "data"))

    train = ScriptRunOperator(
        task_id="train",
        experiment="diabetes",
        config=ScriptRunConfig(
            source_directory="training",
            script="train.py",
            arguments=["--data", data, "--alpha", "{{ params.alpha }}"],
            compute_target="{{ params.compute_target }}",
            environment=Environment.from_pip_requirements("sklearn", "training/requirements.txt"),
        ),
    )

    report(train.output)


train_local()
