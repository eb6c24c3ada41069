"""One run after another: what a run found is the next one's argument, what it left the next one's input."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, Asset, AssetAlias, task

from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator
from tests.airflow.harness import FakeAirflow
from tests.airflow.triggerer import Triggerer, trigger_of
from tests.network.sshd import Sshd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.airflow.project import Project

TRAIN = """
import json, os, pathlib
with open(os.environ["SCRIPTRUN_MESSAGES"], "a") as file:
    file.write(json.dumps({"metric": "rmse", "value": 0.25}) + "\\n")
pathlib.Path("outputs/deep").mkdir()
pathlib.Path("outputs/deep/model.bin").write_bytes(bytes(range(256)) * 100)
pathlib.Path("outputs/notes.txt").write_text("trained")
"""
#: Prints its arguments and what it found as inputs.
EVALUATE = """
import hashlib, json, pathlib, sys
found = {str(path): path.read_bytes() for path in pathlib.Path("inputs").rglob("*") if path.is_file()}
print(json.dumps([sys.argv[1:], {path: [len(data), hashlib.sha256(data).hexdigest()] for path, data in found.items()}]))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with Sshd(own_network=False) as server:
        yield server


@pytest.fixture
def scripts(project: Project) -> Project:
    (project.dags / "code").mkdir()
    (project.dags / "code" / "train.py").write_text(TRAIN)
    (project.dags / "code" / "evaluate.py").write_text(EVALUATE)
    return project


@pytest.fixture
def connections(server: Sshd, scripts: Project, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a test's targets are called: a machine over SSH, and this machine's engine where the test needs it."""
    found = {"vm": server.connection(root=f"{server.host.home}/{scripts.root.name}")}
    if "docker" in {name for mark in request.node.iter_markers("needs") for name in mark.args}:
        engine, volume, image = (request.getfixturevalue(name) for name in ("engine", "store", "base_image_name"))
        extra = {"volume": volume, "base_image": image, "network": "none"}
        found["engine"] = {"conn_type": "scriptrun_docker", "host": engine, "extra": extra}
    return {name: {**one, "extra": json.dumps(one["extra"])} for name, one in found.items()}


def chained(project: Project, fields: Any, *, as_dictionary: bool = False, target: str = "local") -> tuple[Any, Any]:
    """Return the tasks ``train``, on ``local``, and ``evaluate``, whose config has ``fields(train.output)``."""
    with DAG("dag") as dag:
        train = ScriptRunOperator(task_id="train", config=ScriptRunConfig("code", "train.py"))
        said = {"source_directory": "code", "script": "evaluate.py", "compute_target": target, **fields(train.output)}
        evaluate = ScriptRunOperator(
            task_id="evaluate", config=said if as_dictionary else ScriptRunConfig(**said), retries=0
        )
    dag.fileloc = str(project.dags / "dag.py")
    return train, evaluate


def after(record: Mapping[str, Any], **options: Any) -> FakeAirflow:
    """Airflow with what the task ``train`` returned."""
    return FakeAirflow(upstream={"train": {**record, "return_value": record}}, **options)


def succeeded(airflow: FakeAirflow, made: Any) -> dict[str, Any]:
    outcome = airflow.run(made)
    assert outcome.state == "success", (outcome.log, outcome.error)
    return outcome.record


FORMS = {
    "outputs": lambda output: {"inputs": {"model": output["outputs"]}},
    "the whole record": lambda output: {"inputs": {"model": output}},
    "a template": lambda _: {"inputs": {"model": "{{ ti.xcom_pull('train', key='outputs') }}"}},
    "the URI in a template": lambda _: {"inputs": {"model": "{{ ti.xcom_pull('train')['outputs']['uri'] }}"}},
}


@pytest.mark.slow
@pytest.mark.parametrize("as_dictionary", [False, True], ids=["config", "dictionary"])
def test_what_a_run_found_and_left_is_another_ones_arguments_and_inputs(scripts: Project, as_dictionary: bool) -> None:
    train, evaluate = chained(
        scripts,
        lambda output: {
            "arguments": ["--base", output["run_id"], "--metrics", output["metrics"]],
            "inputs": {"model": output["outputs"]},
        },
        as_dictionary=as_dictionary,
    )
    assert evaluate.upstream_task_ids == {"train"}
    record = succeeded(FakeAirflow(), train)
    second = succeeded(after(record), evaluate)
    arguments, files = json.loads(scripts.run_log(second["run_id"]))
    assert arguments == ["--base", record["run_id"], "--metrics", '{"rmse": 0.25}']
    left = {f"inputs/model/{file['path']}": [file["size"], file["sha256"]] for file in record["outputs"]["files"]}
    assert files == left
    assert len(files) == 2
    assert second["inputs"]["model"]["uri"] == record["outputs"]["uri"]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_the_outputs_may_be_named_in_any_of_these_ways(scripts: Project, form: str) -> None:
    train, evaluate = chained(scripts, FORMS[form])
    record = succeeded(FakeAirflow(), train)
    second = succeeded(after(record), evaluate)
    _, files = json.loads(scripts.run_log(second["run_id"]))
    assert set(files) == {"inputs/model/deep/model.bin", "inputs/model/notes.txt"}


@pytest.mark.parametrize("as_dictionary", [False, True], ids=["config", "dictionary"])
@pytest.mark.parametrize(
    "fields",
    [
        lambda output: {"arguments": [output["run_id"]]},
        lambda output: {"arguments": output["command"]},
        lambda output: {"inputs": {"model": output["outputs"]}},
        lambda output: {"tags": {"base": output["run_id"]}},
        lambda output: {"environment_variables": {"METRICS": output["metrics"]}},
        lambda output: {"run_config": {"arguments": [output["run_id"]]}},
    ],
    ids=["argument", "arguments", "input", "tag", "variable", "run_config"],
)
def test_airflow_waits_for_the_task_whose_output_stands_anywhere_in_a_configuration(
    project: Project, fields: Any, as_dictionary: bool
) -> None:
    train, evaluate = chained(project, fields, as_dictionary=as_dictionary)
    assert evaluate.upstream_task_ids == {"train"}
    assert train.downstream_task_ids == {"evaluate"}


def test_airflow_waits_for_the_task_whose_output_an_operator_or_a_function_is_given() -> None:
    with DAG("dag") as dag:
        train = ScriptRunOperator(task_id="train", config=ScriptRunConfig("code", "train.py"))

        @task.script_run
        def evaluate(model: Any) -> ScriptRunConfig:
            return ScriptRunConfig("code", "evaluate.py", inputs={"model": model})

        @task
        def publish(metrics: Any, outputs: Any) -> None: ...

        publish(train.output["metrics"], evaluate(train.output["outputs"])["outputs"])
        ScriptRunOperator(
            task_id="again", config={"source_directory": "c", "script": "t"}, arguments=[train.output["run_id"]]
        )
    assert dag.get_task("evaluate").upstream_task_ids == {"train"}
    assert dag.get_task("publish").upstream_task_ids == {"train", "evaluate"}
    assert dag.get_task("again").upstream_task_ids == {"train"}


@pytest.mark.slow
@pytest.mark.needs("sshd")
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("local", "vm"),
        ("vm", "local"),
        ("vm", "vm"),
        pytest.param("local", "engine", marks=pytest.mark.needs("docker")),
        pytest.param("engine", "local", marks=pytest.mark.needs("docker")),
    ],
)
def test_what_a_run_left_on_one_target_is_an_input_on_another_and_comes_there_once(
    scripts: Project, connections: dict[str, Any], first: str, then: str
) -> None:
    train, evaluate = chained(scripts, FORMS["outputs"], target=then)
    train.compute_target = first
    record = succeeded(FakeAirflow(connections=connections), train)
    assert record["target"]["name"] == first
    expected = {f"inputs/model/{file['path']}": [file["size"], file["sha256"]] for file in record["outputs"]["files"]}
    sent = []
    for _ in range(2):
        second = succeeded(after(record, connections=connections), evaluate)
        assert second["target"]["name"] == then
        _, files = json.loads(scripts.run_log(second["run_id"]))
        assert files == expected
        sent.append(second["inputs"]["model"]["sent_bytes"])
    assert sent == [second["inputs"]["model"]["bytes"], 0]


@pytest.mark.slow
@pytest.mark.usefixtures("defers_at_once")
@pytest.mark.parametrize("is_deferrable", [False, True], ids=["in a worker", "deferred"])
def test_each_outlet_gets_an_event_that_says_which_run_it_was(scripts: Project, is_deferrable: bool) -> None:
    outlets = [
        Asset(name="model", uri="s3://models/churn"),
        Asset.ref(name="scores"),
        AssetAlias("models/churn"),
        AssetAlias("models/all"),
    ]
    with DAG("dag") as dag:
        train = ScriptRunOperator(
            task_id="train", config=ScriptRunConfig("code", "train.py"), outlets=outlets, deferrable=is_deferrable
        )
    dag.fileloc = str(scripts.dags / "dag.py")
    airflow = FakeAirflow()
    if is_deferrable:
        airflow.run(train)
        airflow.fire(Triggerer(trigger_of(airflow)).wait())
    record = succeeded(airflow, train)
    told = {
        "run_id": record["run_id"],
        "experiment": "dag",
        "metrics": {"rmse": 0.25},
        "outputs": record["outputs"]["uri"],
        "snapshot": record["snapshot"]["id"],
    }
    assert [(outlet["name"], outlet["type"]) for outlet in airflow.events["outlets"]] == [
        ("model", "Asset"),
        ("scores", "AssetNameRef"),
        ("models/churn", "AssetAlias"),
        ("models/all", "AssetAlias"),
    ]
    events = [(event.get("source_alias_name"), event["dest_asset_key"]["name"]) for event in airflow.events["events"]]
    assert sorted(events, key=str) == [
        ("models/all", "models/all"),
        ("models/churn", "models/churn"),
        (None, "model"),
        (None, "scores"),
    ]
    assert all(event["extra"] == told for event in airflow.events["events"])


@pytest.mark.slow
def test_a_run_that_fails_tells_no_asset(scripts: Project) -> None:
    (scripts.dags / "code" / "train.py").write_text("raise SystemExit(3)")
    with DAG("dag") as dag:
        train = ScriptRunOperator(
            task_id="train", config=ScriptRunConfig("code", "train.py"), outlets=[AssetAlias("models/churn")]
        )
    dag.fileloc = str(scripts.dags / "dag.py")
    airflow = FakeAirflow()
    assert airflow.run(train).state == "failed"
    assert airflow.events == {}
