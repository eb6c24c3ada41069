"""A training with a form: what an Airflow user sees of this provider in the web interface."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator, script_run_params

config = ScriptRunConfig(
    source_directory="training",
    script="train.py",
    arguments=["--learning-rate", 0.01, "--epochs", 6],
    secret_variables={"REGISTRY_TOKEN": "conn:model_registry/password"},
    tags={"team": "retention"},
)
rate = Param(0.01, type="number", minimum=0.001, maximum=1, description="How far each step goes: 0.001 to 1.")
form = script_run_params(
    config,
    targets=["local", "gpu1"],
    arguments={
        "learning_rate": rate,
        "epochs": Param(6, type="integer", minimum=1, maximum=1000),
        "loss": Param("squared", type="string", enum=["squared", "absolute"]),
        "shuffle": Param(False, type="boolean", section="More"),
        "note": Param(None, type=["null", "string"], section="More"),
    },
)

with DAG("churn", schedule=None, params=form, tags=["training"]):
    ScriptRunOperator(task_id="train", config=config, arguments=form.arguments, compute_target=form.compute_target)
