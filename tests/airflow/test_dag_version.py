"""Airflow makes a new version of a DAG whenever its serialised form changes: ours must not, without a reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path for path in (CHECKOUT / "dags").glob("*.py") if "\n@dag(" in path.read_text())
IMPORTS = """
from datetime import timedelta

from airflow.sdk import DAG, Asset, AssetAlias, ExceptionRetryPolicy, Param, RetryRule, task
from airflow_provider.scriptrun import (
    Environment, RunConfiguration, ScriptRunConfig, ScriptRunOperator, errors, script_run_params
)

config = ScriptRunConfig("code", "train.py", arguments=["--rate", 0.1])
"""
DAG_START = """
with DAG("dag", schedule=None, params={"rate": 0.1}) as dag:
    @task
    def prepare():
        return "data.csv"
"""
#: Feature -> what a DAG file has of it.
FEATURES = {
    "templates and outputs": """
    environment = Environment.from_pip_requirements("sklearn", "requirements.txt")
    ScriptRunOperator(
        task_id="train",
        config=ScriptRunConfig(
            "code", "train.py",
            arguments=["--rate", "{{ params.rate }}", "--data", prepare()],
            environment=environment,
            environment_variables={"B": "2", "A": "1"},
            secret_variables={"HF_TOKEN": "conn:hf/password"},
            inputs={"b": "b.csv", "a": prepare()},
            tags={"team": "churn"},
        ),
    )
""",
    "assignment": """
    configuration = RunConfiguration()
    configuration.target = "gpu_box"
    configuration.environment = Environment.from_pip_requirements("sklearn", "requirements.txt")
    ScriptRunOperator(task_id="train", config=ScriptRunConfig("code", "train.py", run_config=configuration))
""",
    "mapping": """
    several = [ScriptRunConfig("code", "train.py", arguments=[n]) for n in range(3)]
    ScriptRunOperator.partial(task_id="configs").expand(config=several)
    ScriptRunOperator.partial(task_id="arguments", config=config).expand(arguments=[["--n", n] for n in range(3)])
    ScriptRunOperator.partial(task_id="kwargs").expand_kwargs(
        [{"config": several[0], "tags": {"b": "1", "a": "2"}}, {"config": several[1]}]
    )
    ScriptRunOperator.partial(task_id="found", config=config).expand_kwargs(prepare())
""",
    "decorator": """
    @task.script_run(tags={"team": "churn"})
    def train(rate):
        return ScriptRunConfig("code", "train.py", arguments=["--rate", rate])

    train(prepare())
    train.override(task_id="mapped").expand(rate=[0.1, 0.2])
""",
    "outlets": """
    outlets = [Asset(name="model", uri="s3://b/model"), AssetAlias("models/churn")]
    ScriptRunOperator(task_id="train", config=config, outlets=outlets)
    ScriptRunOperator.partial(task_id="mapped", config=config, outlets=outlets).expand(arguments=[["a"]])
""",
    "deferrable": """
    ScriptRunOperator(task_id="train", config=config, deferrable=True, execution_timeout=timedelta(hours=1))
    ScriptRunOperator.partial(task_id="mapped", config=config, deferrable=True).expand(arguments=[["a"]])
""",
    "retry policy": """
    policy = ExceptionRetryPolicy(
        rules=[RetryRule(errors.TargetUnreachableError, retry_delay=timedelta(seconds=30), reason="may be back")]
    )
    ScriptRunOperator(task_id="train", config=config, retries=5, retry_policy=policy)
    ScriptRunOperator.partial(task_id="mapped", config=config, retry_policy=policy).expand(arguments=[["a"]])
""",
    "trigger form": """
form = script_run_params(
    config, targets=["local", "gpu1"], arguments={"epochs": Param(10, type="integer", minimum=1)}, many_targets=True
)

with DAG("dag", schedule=None, params=form) as dag:
    ScriptRunOperator(task_id="train", config=config, arguments=form.arguments, compute_target=form.compute_target)
""",
}

#: Prints one line for each file: the version's hash, and the serialised DAG as the DAG processor hands it over.
CODE = """
import json, sys
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
from airflow.models.serialized_dag import SerializedDagModel
from airflow.sdk.execution_time.comms import _RequestFrame
from airflow.serialization.serialized_objects import DagSerialization

for path in map(Path, sys.argv[1:]):
    sys.path.insert(0, str(path.parent))
    bag = DagBag(str(path))
    assert not bag.import_errors, bag.import_errors
    (dag,) = bag.dags.values()
    data = DagSerialization.to_dict(dag)
    DagSerialization.from_dict(json.loads(json.dumps(data)))
    assert _RequestFrame(id=0, body=data).as_bytes()
    print(json.dumps([SerializedDagModel.hash(data), data], sort_keys=True))
"""


@pytest.fixture(scope="module")
def parses(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, str]]:
    """What two processes, whose sets and dictionaries of objects have different orders, make of each DAG."""
    folder = tmp_path_factory.mktemp("versions")
    files = {path.stem: path for path in EXAMPLES}
    for name, text in FEATURES.items():
        files[name] = folder / f"{name.replace(' ', '_')}.py"
        files[name].write_text(IMPORTS + (text if "with DAG(" in text else DAG_START + text))
    first, second = (_parse(folder, files, seed) for seed in ("1", "2"))
    return first, second


def _parse(folder: Path, files: dict[str, Path], seed: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, files.values())],
        env={
            "PATH": "/usr/bin:/bin",
            "AIRFLOW_HOME": str(folder),
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    return dict(zip(files, lines, strict=True))


@pytest.mark.parametrize("name", [*(path.stem for path in EXAMPLES), *FEATURES])
def test_the_dag_version_does_not_change_between_parses_of_an_unchanged_file(
    name: str, parses: tuple[dict[str, str], dict[str, str]]
) -> None:
    first, second = (found[name] for found in parses)
    (version, data), (other, _) = json.loads(first), json.loads(second)
    assert data["dag"]["tasks"]
    assert " at 0x" not in first
    assert version == other
    if name in FEATURES:  # an operator of Airflow's own, as an example has one, orders some of its fields by chance
        assert first == second


def test_every_example_is_looked_at() -> None:
    assert {path.stem for path in EXAMPLES} >= {
        "leaderboard",
        "scheduled_training",
        "train_in_docker",
        "train_local",
        "train_on_vm",
        "training_matrix",
    }
