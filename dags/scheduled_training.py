"""Train every day, and publish the model only if it is better than a threshold.

Data is prepared here, an ordinary script trains on the target that the run names, and a branch looks at its metrics.
Each finished training is an event of the asset alias `models/sensors`, on which the DAG `leaderboard` is scheduled.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import AssetAlias, Param, dag, task
from readings import STATE, prepare_data

from airflow_provider.scriptrun import Environment, ScriptRunConfig, ScriptRunOperator

TRAINED = AssetAlias("models/sensors")
PUBLISHED = STATE / "published" / "sensors.json"


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,  # what is published is the latest that was good enough
    params={
        "alpha": Param(0.1, type="number", minimum=0, description="Strength of the regularisation"),
        "max_rmse": Param(1.5, type="number", minimum=0, description="A model with a larger error is not published"),
        "compute_target": Param("local", type="string", description='An Airflow connection id, or "local"'),
    },
    tags=["scriptrun", "example"],
    doc_md=__doc__,
)
def scheduled_training():
    """The DAG; its name is its id."""
    train = ScriptRunOperator(
        task_id="train",
        experiment="sensors",
        config=ScriptRunConfig(
            source_directory="training",
            script="train.py",
            arguments=["--data", "inputs/readings.csv", "--alpha", "{{ params.alpha }}"],
            inputs={"readings.csv": prepare_data()},
            compute_target="{{ params.compute_target }}",
            environment=Environment.from_pip_requirements("sklearn", "training/requirements.txt"),
        ),
        outlets=[TRAINED],
    )

    @task.branch
    def is_good_enough(metrics: dict, params: dict | None = None) -> str:
        """Name the task that comes next."""
        print(f"rmse = {metrics['rmse']:.4f}; it may be {params['max_rmse']}")
        return "publish" if metrics["rmse"] <= params["max_rmse"] else "leave_it"

    @task
    def publish(record: dict) -> str:
        """Put the model where others look for it: a verified copy, whole from one moment to the next."""
        from airflow_provider.scriptrun import Run

        PUBLISHED.parent.mkdir(parents=True, exist_ok=True)
        copy = Run.from_record(record).download_file("outputs/model.json", PUBLISHED.with_suffix(".new"))
        return str(copy.replace(PUBLISHED))

    @task
    def leave_it(record: dict) -> None:
        """Say where the model is that was not good enough."""
        print(f"The published model stays; this one is in {record['outputs']['uri']}")

    is_good_enough(train.output["metrics"]) >> [publish(train.output), leave_it(train.output)]


scheduled_training()
