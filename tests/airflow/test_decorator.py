"""``@task.script_run``: what the function returns is run, as the operator runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider.scriptrun import ConfigurationError, ScriptRunConfig
from airflow_provider.scriptrun.decorators.script_run import ScriptRunDecoratedOperator, script_run_task
from tests.airflow.harness import RUN_ID, FakeAirflow
from tests.airflow.triggerer import Triggerer, trigger_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.airflow.project import Project

SHOW = "import json, sys\nprint(json.dumps(sys.argv[1:]))\n"


def decorated(project: Project, function: Callable[..., Any], *args: Any, **options: Any) -> ScriptRunDecoratedOperator:
    """The task that the decorator makes of ``function``, called with ``args``, in a DAG file of the project."""
    (project.dags / "code").mkdir(parents=True, exist_ok=True)
    (project.dags / "code" / "train.py").write_text(SHOW)
    with DAG("dag", params={"rate": 0.3, "text": "{{ 1 + 1 }}"}) as dag:
        made = script_run_task(function, **options)(*args).operator
    dag.fileloc = str(project.dags / "dag.py")
    return made


def arguments(project: Project, record: dict[str, Any]) -> list[str]:
    found: list[str] = json.loads(project.run_log(record["run_id"]))
    return found


@pytest.mark.slow
def test_what_the_function_returns_is_run_with_the_context_at_hand(project: Project) -> None:
    def train(epochs: int, params: Any = None, run_id: str | None = None) -> ScriptRunConfig:
        return ScriptRunConfig("code", "train.py", arguments=["--rate", params["rate"], epochs, run_id])

    outcome = FakeAirflow().run(decorated(project, train, "{{ 2 + 3 }}"))
    assert outcome.state == "success", outcome.log
    assert arguments(project, outcome.record) == ["--rate", "0.3", "5", RUN_ID]
    assert outcome.xcom["metrics"] == {}, "each field of the record is a key of its own"


@pytest.mark.slow
def test_templates_in_what_it_returns_are_rendered_once(project: Project) -> None:
    def train() -> dict[str, Any]:
        return {
            "source_directory": "code",
            "script": "train.py",
            "arguments": ["{{ params.text }}", "{{ params.rate }}"],
        }

    outcome = FakeAirflow().run(decorated(project, train, tags={"a": "{{ params.text }}"}))
    assert outcome.state == "success", outcome.log
    assert arguments(project, outcome.record) == ["{{ 1 + 1 }}", "0.3"]


@pytest.mark.slow
def test_the_decorators_own_fields_win(project: Project) -> None:
    def train() -> ScriptRunConfig:
        return ScriptRunConfig("code", "train.py", arguments=["a"])

    outcome = FakeAirflow().run(decorated(project, train, arguments=["b"]))
    assert arguments(project, outcome.record) == ["b"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("found", "words"),
    [(None, "which is nothing to run"), (5, "must be a ScriptRunConfig"), ({"skript": "x"}, "Did you mean")],
    ids=["nothing", "a number", "an unknown field"],
)
def test_what_is_no_configuration_is_refused(project: Project, found: Any, words: str) -> None:
    outcome = FakeAirflow().run(decorated(project, lambda: found, task_id="train"))
    assert outcome.state == "failed"
    assert isinstance(outcome.error, ConfigurationError)
    assert words in str(outcome.error)


@pytest.mark.slow
@pytest.mark.usefixtures("defers_at_once")
def test_what_a_function_decided_is_shown_behind_a_trigger_too(project: Project) -> None:
    def train(rate: float) -> ScriptRunConfig:
        return ScriptRunConfig("code", "train.py", arguments=["--rate", rate])

    airflow = FakeAirflow()
    airflow.run(decorated(project, train, 0.3, deferrable=True))
    assert airflow.stored.state == "deferred"
    airflow.fire(Triggerer(trigger_of(airflow)).wait())
    in_another_process = decorated(project, train, 0.3, deferrable=True, map_index_template="{{ task.label }}")
    outcome = airflow.run(in_another_process)
    assert outcome.state == "success", outcome.log
    assert airflow.stored.rendered["config"]["arguments"] == ["--rate", "0.3"]
    assert airflow.names[-1] == "--rate 0.3"


def test_a_mistake_in_the_decorator_is_found_when_the_dag_is_parsed(project: Project) -> None:
    def train() -> ScriptRunConfig:
        return ScriptRunConfig("code", "train.py")

    for options in ({"config": {}}, {"experiment": "no name!"}, {"compute_target": ""}):
        with pytest.raises(ConfigurationError):
            decorated(project, train, **options)


def test_airflow_finds_the_decorator_under_its_name() -> None:
    assert task.script_run is script_run_task
