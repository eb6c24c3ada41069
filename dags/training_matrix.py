"""Train on every target with every strength of regularisation that the trigger form names, and say which was best.

Airflow's form offers the targets and takes a list of strengths; each combination is one instance of the task `train`.
To have more targets than this machine, make connections of the type "Script run: SSH", and name them in `TARGETS`.
"""

from __future__ import annotations

from airflow.sdk import Param, dag, task
from readings import prepare_data

from airflow_provider.scriptrun import Environment, ScriptRunConfig, ScriptRunOperator, script_run_params

TARGETS = ["local", "training_vm"]

form = script_run_params(
    targets=TARGETS,
    arguments={
        "data": Param("inputs/readings.csv", const="inputs/readings.csv"),
        "alpha": Param([0.1, 100.0], type="array", items={"type": "number", "minimum": 0}),
        "seed": 7,
    },
    many_targets=True,
)


@dag(schedule=None, params=form, tags=["scriptrun", "example"], doc_md=__doc__)
def training_matrix():
    """The DAG; its name is its id."""

    @task
    def grid(params: dict | None = None) -> list[dict]:
        """Return the target and the arguments of each training."""
        return form.grid(params)

    train = ScriptRunOperator.partial(
        task_id="train",
        experiment="sensors",
        config=ScriptRunConfig(
            source_directory="training",
            script="train.py",
            inputs={"readings.csv": prepare_data()},
            environment=Environment.from_pip_requirements("sklearn", "training/requirements.txt"),
        ),
    ).expand_kwargs(grid())

    @task
    def compare(records: list[dict]) -> str:
        """Print what each run found, the best one first; return its id."""
        found = sorted(records, key=lambda record: record["metrics"]["rmse"])
        for record in found:
            print(f"{record['metrics']['rmse']:.4f}", record["target"]["name"], *record["command"][1:])
        return found[0]["run_id"]

    compare(train.output)


training_matrix()
