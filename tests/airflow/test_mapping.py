"""Mapped tasks: what each instance runs and is called, from whatever form the list has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, BaseOperator, task
from airflow.sdk.log import mask_secret

from airflow_provider.scriptrun import ConfigurationError, ScriptRunConfig, ScriptRunOperator
from tests.airflow.harness import FakeAirflow

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.airflow.project import Project

SHOW = "import json, os, sys\nprint(json.dumps([*sys.argv[1:], os.environ.get('SEED', '')]))\n"
CONFIG = {"source_directory": "code", "script": "train.py"}


def ran(
    project: Project, make: Callable[[Any], Any], map_index: int, listed: Any = None
) -> tuple[list[str], list[str]]:
    """Run one instance of the task that ``make`` maps; return what its script was given, and the instance's names.

    :param listed: what an upstream task, which ``make`` gets the output of, returned.
    """
    (project.dags / "code").mkdir(exist_ok=True)
    (project.dags / "code" / "train.py").write_text(SHOW)
    with DAG("dag") as dag:
        made = make(BaseOperator(task_id="listing").output)
    dag.fileloc = str(project.dags / "dag.py")
    mapped = dag.get_task("train")
    if listed is not None:
        assert mapped.upstream_task_ids == {"listing"}, made
    airflow = FakeAirflow(map_index=map_index, upstream={"listing": {"return_value": listed}})
    outcome = airflow.run(mapped)
    assert outcome.state == "success", outcome.log
    assert outcome.record["airflow"]["map_index"] == map_index
    return json.loads(project.run_log(outcome.record["run_id"])), airflow.names


def partial(**options: Any) -> Any:
    return ScriptRunOperator.partial(task_id="train", **options)


@pytest.mark.slow
@pytest.mark.parametrize("map_index", [0, 1])
@pytest.mark.parametrize(
    ("make", "listed"),
    [
        (
            lambda _: partial().expand(
                config=[ScriptRunConfig("code", "train.py", ["--lr", 0.1]), {**CONFIG, "arguments": ["--lr", "0.01"]}]
            ),
            None,
        ),
        (lambda _: partial(config=CONFIG).expand(arguments=[["--lr", 0.1], ["--lr", 0.01]]), None),
        (
            lambda _: partial(config=CONFIG).expand_kwargs(
                [{"arguments": ["--lr", 0.1]}, {"arguments": ["--lr", 0.01], "tags": {"a": "b"}}]
            ),
            None,
        ),
        (
            lambda _: partial().expand_kwargs(
                [{"config": ScriptRunConfig("code", "train.py", ["--lr", x])} for x in (0.1, 0.01)]
            ),
            None,
        ),
        (
            lambda output: partial().expand(config=output),
            [{**CONFIG, "arguments": ["--lr", rate]} for rate in ("0.1", "0.01")],
        ),
        (lambda output: partial(config=CONFIG).expand(arguments=output), [["--lr", 0.1], ["--lr", 0.01]]),
        (
            lambda output: partial(config=CONFIG).expand(arguments=output.map(lambda rate: ["--lr", rate])),
            [0.1, 0.01],
        ),
        (
            lambda output: partial(config=CONFIG).expand_kwargs(output),
            [{"arguments": ["--lr", 0.1]}, {"arguments": ["--lr", 0.01], "experiment": "other"}],
        ),
        (
            lambda output: partial().expand_kwargs(output),
            [{"config": {**CONFIG, "arguments": ["--lr", rate]}} for rate in (0.1, 0.01)],
        ),
    ],
    ids=[
        "configs",
        "arguments",
        "kwargs",
        "kwargs with configs",
        "configs of a task",
        "arguments of a task",
        "arguments mapped from a task",
        "kwargs of a task",
        "kwargs with configs of a task",
    ],
)
def test_each_instance_runs_its_own_and_is_called_after_it(
    project: Project, make: Callable[[Any], Any], listed: Any, map_index: int
) -> None:
    rate = ("0.1", "0.01")[map_index]
    given, names = ran(project, make, map_index, listed)
    assert given == ["--lr", rate, ""]
    assert set(names) == {f"--lr {rate}"}, "as long as it runs, too"


@pytest.mark.slow
def test_instances_that_differ_in_their_variables_are_called_after_those(project: Project) -> None:
    given, names = ran(
        project, lambda _: partial(config=CONFIG).expand(environment_variables=[{"SEED": 1}, {"SEED": 2}]), 1
    )
    assert given == ["2"]
    assert names[-1] == "SEED=2"


@pytest.mark.slow
@pytest.mark.parametrize("map_index", [0, 1])
def test_a_decorated_task_is_mapped_over_what_its_function_takes(project: Project, map_index: int) -> None:
    def make(output: Any) -> Any:
        @task.script_run
        def train(rate: float) -> ScriptRunConfig:
            return ScriptRunConfig("code", "train.py", ["--lr", rate])

        return train.expand(rate=output)

    rate = (0.1, 0.01)[map_index]
    given, names = ran(project, make, map_index, [0.1, 0.01])
    assert given == ["--lr", str(rate), ""]
    assert names[0] == f"rate={rate}", "before the function has said what is run"
    assert names[-1] == f"--lr {rate}"


@pytest.mark.slow
def test_a_decorated_task_is_mapped_over_kwargs_beside_what_it_is_given(project: Project) -> None:
    def make(_: Any) -> Any:
        @task.script_run(environment_variables={"SEED": "7"})
        def train(rate: float, epochs: int) -> ScriptRunConfig:
            return ScriptRunConfig("code", "train.py", ["--lr", rate, "--epochs", epochs])

        return train.partial(epochs=3).expand(rate=[0.1, 0.01])

    given, names = ran(project, make, 1)
    assert given == ["--lr", "0.01", "--epochs", "3", "7"]
    assert names[-1] == "--lr 0.01 --epochs 3 SEED=7"


def test_another_tasks_output_within_a_configuration_that_is_mapped_over_is_refused() -> None:
    with DAG("dag"):
        rate = BaseOperator(task_id="rate").output
        config = ScriptRunConfig("code", "train.py", ["--lr", rate])
        with pytest.raises(ConfigurationError, match=r"config\[1\].arguments\[1\] is another task's output"):
            partial().expand(config=[CONFIG, config])
        with pytest.raises(ConfigurationError, match="Airflow would not wait for that task"):
            partial(config=CONFIG).expand(arguments=[["--lr", rate]])
        with pytest.raises(ConfigurationError, match=r"expand_kwargs\[0\].arguments\[0\] is"):
            partial(config=CONFIG).expand_kwargs([{"arguments": [rate]}])
        with pytest.raises(ConfigurationError, match="Airflow would not wait"):
            partial().expand_kwargs([{"config": config}])
        partial(config=config).expand(arguments=[["a"]])  # which waits for it


def test_a_mistake_in_what_is_mapped_over_is_found_when_the_dag_is_parsed() -> None:
    with DAG("dag"):
        with pytest.raises(ConfigurationError, match=r"config\[1\]: config.skript is no field"):
            partial().expand(config=[CONFIG, {**CONFIG, "skript": "x"}])
        with pytest.raises(ConfigurationError, match=r"expand_kwargs\[0\]: .*must be a list"):
            partial(config=CONFIG).expand_kwargs([{"arguments": "--lr 0.1"}])
        with pytest.raises(ConfigurationError, match=r"arguments\[0\]: .*must be a list"):
            partial(config=CONFIG).expand(arguments=["--lr 0.1"])


def test_a_mapped_function_has_the_retries_of_a_task_that_is_not_mapped() -> None:
    def train(rate: float) -> ScriptRunConfig:
        return ScriptRunConfig("code", "train.py", ["--lr", rate])

    with DAG("dag") as dag:
        task.script_run(train).expand(rate=[0.1])
        task.script_run(task_id="own", retries=1)(train).expand(rate=[0.1])
    with DAG("other", default_args={"retries": 2}) as other:
        task.script_run(train).expand(rate=[0.1])
    found = [made.get_task(name) for made, name in ((dag, "train"), (dag, "own"), (other, "train"))]
    assert [one.retries for one in found] == [3, 1, 2]
    assert [len(one.partial_kwargs["retry_policy"].rules) for one in found] == [2, 1, 1]


def test_no_instance_is_called_after_a_secret() -> None:
    mask_secret("a-masked-value-of-a-test")
    config = {**CONFIG, "arguments": ["--key", "a-masked-value-of-a-test"]}
    made = ScriptRunOperator(
        task_id="train", config=config, environment_variables={"API_TOKEN": "abcdefgh", "SEED": "1"}
    )
    assert made.label == "--key *** API_TOKEN=*** SEED=1"
