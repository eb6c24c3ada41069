"""What a person sees of one task: its record, its log, its templates, its mistakes."""

from __future__ import annotations

import contextlib
import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, XComArg, task

from airflow_provider.scriptrun import (
    ConfigurationError,
    Environment,
    Run,
    ScriptRunConfig,
    ScriptRunOperator,
    Workspace,
)
from airflow_provider.scriptrun.operators.experiment_name import experiment_name
from airflow_provider.scriptrun.operators.task_facts import bundle, seed
from airflow_provider.scriptrun.snapshot.git import Bundle
from tests.airflow.harness import RUN_ID, FakeAirflow
from tests.airflow.project import Project, open_descriptors, until

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

pytestmark = pytest.mark.slow

#: A script that prints its arguments and the variables that a test asks for, as JSON.
SHOW = """
import json, os, sys
print(json.dumps({"arguments": sys.argv[1:], "variables": dict(os.environ), "folder": os.getcwd()}))
"""


def operator(project: Project, script: str = SHOW, *, dag_id: str = "dag", **options: Any) -> ScriptRunOperator:
    """A task in a DAG whose file is in the project's folder."""
    (project.dags / "code").mkdir(parents=True, exist_ok=True)
    (project.dags / "code" / "train.py").write_text(script)
    options.setdefault("config", ScriptRunConfig("code", "train.py"))
    with DAG(dag_id, params={"rate": 0.3, "target": "local"}) as dag:
        made = ScriptRunOperator(task_id="train", **options)
    dag.fileloc = str(project.dags / "dag.py")
    return made


def shown(project: Project, record: dict[str, Any]) -> dict[str, Any]:
    """What ``SHOW`` printed in the run of this record."""
    found: dict[str, Any] = json.loads(project.run_log(record["run_id"]))
    return found


# The record --------------------------------------------------------------------------------------------------------


def test_the_record_is_the_xcom_value_and_each_field_a_key_of_its_own(project: Project) -> None:
    airflow = FakeAirflow()
    outcome = airflow.run(operator(project))
    assert outcome.state == "success", outcome.log
    record = outcome.record
    assert (record["status"], record["exit_code"]) == ("Completed", 0)
    assert record["airflow"] == {
        "dag_id": "dag",
        "run_id": RUN_ID,
        "task_id": "train",
        "map_index": -1,
        "try_number": 1,
        "bundle_name": None,
        "bundle_version": None,
    }
    assert {name: outcome.xcom[name] for name in record} == record
    assert len(json.dumps(record)) < 16_384


def test_the_record_leads_to_the_run_without_airflow(project: Project) -> None:
    record = FakeAirflow().run(operator(project)).record
    run = Run.from_record(record, Workspace(project.workspace))
    assert run.get_status() == "Completed"
    assert "run.log" in run.get_file_names()


def test_runs_belong_to_an_experiment_named_after_the_dag(project: Project) -> None:
    assert FakeAirflow().run(operator(project, dag_id="team.churn-v2")).record["experiment"] == "team_churn-v2"
    named = operator(project, experiment="churn_{{ params.target }}")
    assert FakeAirflow().run(named).record["experiment"] == "churn_local"


@pytest.mark.parametrize(
    ("dag_id", "name"),
    [("churn", "churn"), ("a.b c", "a_b_c"), ("_x", "x"), ("...", "dag"), ("é1", "1"), ("a" * 300, "a" * 255)],
)
def test_a_dags_id_becomes_an_experiments_name(dag_id: str, name: str) -> None:
    assert experiment_name(dag_id) == name


def test_a_failed_runs_record_is_pushed_before_its_error_is_raised(project: Project) -> None:
    outcome = FakeAirflow(retries=3).run(operator(project, "import sys; print('oh'); sys.exit(4)"))
    assert outcome.state == "failed"
    assert type(outcome.error).__name__ == "ScriptFailedError"
    assert outcome.record["exit_code"] == 4
    assert outcome.xcom["status"] == "Failed"


def test_nothing_is_pushed_where_a_task_pushes_nothing(project: Project) -> None:
    good = FakeAirflow().run(operator(project, do_xcom_push=False))
    bad = FakeAirflow().run(operator(project, "raise SystemExit(1)", do_xcom_push=False))
    assert (good.state, bad.state) == ("success", "failed")
    for outcome in (good, bad):  # what a task's buttons lead to, Airflow itself pushes in any case
        assert not {name for name in outcome.xcom if not name.startswith("_link_")}


# The log -----------------------------------------------------------------------------------------------------------


def test_the_scripts_lines_stand_in_the_task_log_in_order_and_once(project: Project) -> None:
    script = "import sys\nfor n in range(5000): print('line %d' % n, '%s {x}')\nsys.stdout.write('no newline \\xe9')"
    outcome = FakeAirflow().run(operator(project, script))
    lines = [line for line in outcome.lines if line.startswith("line ")]
    assert lines == [f"line {number} %s {{x}}" for number in range(5000)]
    assert "no newline é" in outcome.lines


def test_a_failure_is_told_with_exit_code_last_lines_and_the_logs_place(project: Project) -> None:
    outcome = FakeAirflow().run(operator(project, "print('almost'); raise SystemExit(9)"))
    message = str(outcome.error)
    assert "exit code 9" in message
    assert "almost" in message
    assert outcome.record["log"]["uri"] in message


# Templates ---------------------------------------------------------------------------------------------------------


def test_every_field_may_hold_a_template(project: Project) -> None:
    config = ScriptRunConfig(
        source_directory="{{ 'code' }}",
        script="{{ 'train' }}.py",
        arguments=["--rate", "{{ params.rate }}", "{{ run_id }}"],
        compute_target="{{ params.target }}",
        environment_variables={"RATE": "{{ params.rate }}"},
        tags={"run": "{{ run_id }}"},
    )
    airflow = FakeAirflow(conf={"rate": 0.7})
    record = airflow.run(operator(project, config=config)).record
    seen = shown(project, record)
    assert seen["arguments"] == ["--rate", "0.7", RUN_ID]
    assert seen["variables"]["RATE"] == "0.7"
    assert record["target"]["name"] == "local"


def test_the_rendered_config_is_shown_as_small_json(project: Project) -> None:
    airflow = FakeAirflow()
    airflow.run(operator(project, config=ScriptRunConfig("code", "train.py", arguments=["{{ params.rate }}"])))
    rendered = airflow.stored.rendered["config"]
    assert rendered["arguments"] == ["0.3"]
    assert rendered["script"] == "train.py"
    assert len(json.dumps(airflow.stored.rendered)) < 1000
    assert ScriptRunOperator.template_fields_renderers["config"] == "json"


def test_a_second_run_in_the_same_process_renders_its_own_templates(project: Project) -> None:
    made = operator(project, config=ScriptRunConfig("code", "train.py", arguments=["{{ params.rate }}"]))
    first = FakeAirflow(conf={"rate": 1}).run(made).record
    second = FakeAirflow(conf={"rate": 2}).run(made).record
    assert shown(project, first)["arguments"] == ["1"]
    assert shown(project, second)["arguments"] == ["2"]


def test_the_operators_own_fields_win_over_the_configs(project: Project) -> None:
    config = ScriptRunConfig(
        "code", "train.py", arguments=["--old"], compute_target="elsewhere", environment_variables={"A": "1", "B": "1"}
    )
    made = operator(
        project,
        config=config,
        arguments=["--new", "{{ params.rate }}"],
        compute_target="{{ params.target }}",
        environment_variables={"B": "2"},
    )
    seen = shown(project, FakeAirflow().run(made).record)
    assert seen["arguments"] == ["--new", "0.3"]
    assert (seen["variables"]["A"], seen["variables"]["B"]) == ("1", "2")


def test_a_config_may_be_a_dictionary(project: Project) -> None:
    made = operator(
        project, config={"source_directory": "code", "script": "train.py", "arguments": [1, "{{ params.rate }}"]}
    )
    assert shown(project, FakeAirflow().run(made).record)["arguments"] == ["1", "0.3"]


def test_another_tasks_output_inside_the_config_makes_it_wait_for_that_task() -> None:
    with DAG("dag"):

        @task
        def prepare() -> str:
            return "data.csv"

        first = prepare()
        assert isinstance(first, XComArg)
        config = ScriptRunConfig(
            "code", "train.py", arguments=["--data", first], environment_variables={"DATA": first["path"]}
        )
        train = ScriptRunOperator(task_id="train", config=config)
        plain = ScriptRunOperator(
            task_id="plain", config={"source_directory": "c", "script": "t.py", "arguments": [first]}
        )
        override = ScriptRunOperator(task_id="override", config=ScriptRunConfig("c", "t.py"), arguments=[first])
    for waiting in (train, plain, override):
        assert waiting.upstream_task_ids == {"prepare"}


def test_relative_paths_are_relative_to_the_dag_file(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert FakeAirflow().run(operator(project)).state == "success"


# Mapping -----------------------------------------------------------------------------------------------------------


def mapped(project: Project, **expanded: Any) -> Any:
    (project.dags / "code").mkdir(exist_ok=True)
    (project.dags / "code" / "train.py").write_text(SHOW)
    with DAG("dag", params={"rate": 0.3}) as dag:
        partial = ScriptRunOperator.partial(
            task_id="train", **({} if "config" in expanded else {"config": ScriptRunConfig("code", "train.py")})
        )
        made = partial.expand(**expanded)
    dag.fileloc = str(project.dags / "dag.py")
    return made


@pytest.mark.parametrize("map_index", [0, 1])
def test_a_task_is_mapped_over_configs(project: Project, map_index: int) -> None:
    configs = [
        ScriptRunConfig("code", "train.py", arguments=["{{ params.rate }}"]),
        {"source_directory": "code", "script": "train.py", "arguments": ["second"]},
    ]
    record = FakeAirflow(map_index=map_index).run(mapped(project, config=configs)).record
    assert shown(project, record)["arguments"] == [["0.3"], ["second"]][map_index]
    assert record["airflow"]["map_index"] == map_index


@pytest.mark.parametrize("map_index", [0, 1])
def test_a_task_is_mapped_over_arguments(project: Project, map_index: int) -> None:
    record = FakeAirflow(map_index=map_index).run(mapped(project, arguments=[["--a", 1], ["--a", 2]])).record
    assert shown(project, record)["arguments"] == ["--a", str(map_index + 1)]


# Retries -----------------------------------------------------------------------------------------------------------


def with_retries(**options: Any) -> tuple[Any, Any]:
    with DAG("dag", default_args=options.pop("default_args", {})):
        plain = ScriptRunOperator(task_id="plain", config=ScriptRunConfig("c", "t.py"), **options)
        many = ScriptRunOperator.partial(task_id="many", **options).expand(config=[ScriptRunConfig("c", "t.py")])
    return plain, many


def rules(made: BaseOperator) -> int:
    return len(made.retry_policy.rules)  # type: ignore[union-attr]


def test_a_task_that_says_nothing_has_three_retries_that_a_failing_script_does_not_spend() -> None:
    plain, many = with_retries()
    assert (plain.retries, many.retries) == (3, 3)
    assert type(many.partial_kwargs["retries"]) is int, "the DAG processor can hand over no other kind of number"
    assert rules(plain) == rules(many.unmap({"config": {"source_directory": "c", "script": "t.py"}})) == 2


@pytest.mark.parametrize("options", [{"retries": 3}, {"default_args": {"retries": 3}}])
def test_retries_that_a_person_asks_for_are_spent_on_a_failing_script_too(options: dict[str, Any]) -> None:
    plain, many = with_retries(**options)
    assert (plain.retries, many.retries) == (3, 3)
    assert rules(plain) == rules(many.unmap({"config": {"source_directory": "c", "script": "t.py"}})) == 1


def test_a_retry_policy_of_a_persons_own_is_kept() -> None:
    from airflow.sdk import ExceptionRetryPolicy

    own = ExceptionRetryPolicy(rules=[])
    plain, _ = with_retries(retry_policy=own)
    assert plain.retry_policy is own


# Mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"source_directory": "code"}, "script"),
        ({"source_directory": "code", "script": "a.py", "comand": "x"}, "Did you mean command"),
        ({"source_directory": "code", "script": "a.py", "command": ["b"]}, "command"),
        ({"source_directory": "code", "script": "a.py", "max_run_duration_seconds": -1}, "max_run_duration_seconds"),
        (42, "ScriptRunConfig"),
    ],
)
def test_a_wrong_config_is_refused_when_the_dag_is_parsed(config: Any, message: str) -> None:
    with DAG("dag"), pytest.raises(ConfigurationError, match=message):
        ScriptRunOperator(task_id="train", config=config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arguments": "--lr 0.1"}, "arguments"),
        ({"arguments": [None]}, "arguments"),
        ({"environment_variables": {"1": "x"}}, "environment_variables"),
        ({"tags": ["a"]}, "tags"),
        ({"compute_target": 3}, "compute_target"),
        ({"experiment": "no spaces"}, "experiment"),
    ],
)
def test_a_wrong_field_of_the_operators_own_is_refused_when_the_dag_is_parsed(
    options: dict[str, Any], message: str
) -> None:
    with DAG("dag"), pytest.raises(ConfigurationError, match=message):
        ScriptRunOperator(task_id="train", config=ScriptRunConfig("code", "train.py"), **options)


def test_an_unknown_field_of_the_operator_is_refused_by_airflow() -> None:
    with DAG("dag"), pytest.raises(TypeError, match="argument"):
        ScriptRunOperator(task_id="train", config=ScriptRunConfig("code", "train.py"), argument=["x"])


def test_what_a_template_was_rendered_to_is_checked_and_not_tried_again(project: Project) -> None:
    config = ScriptRunConfig("code", "train.py", max_run_duration_seconds="{{ 'soon' }}")
    outcome = FakeAirflow(retries=3).run(operator(project, config=config))
    assert outcome.state == "failed"
    assert isinstance(outcome.error, ConfigurationError)
    assert "max_run_duration_seconds" in str(outcome.error)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ScriptRunConfig("nowhere", "train.py"), "nowhere"),
        (ScriptRunConfig("code", "absent.py"), "absent.py"),
        (ScriptRunConfig("code", "train.py", compute_target="no_such_box"), "AIRFLOW_CONN_NO_SUCH_BOX"),
        (ScriptRunConfig("code", "train.py", secret_variables={"T": "conn:none/password"}), "AIRFLOW_CONN_NONE"),
    ],
)
def test_a_mistake_that_only_the_worker_sees_is_one_clear_error(
    project: Project, config: ScriptRunConfig, message: str
) -> None:
    outcome = FakeAirflow().run(operator(project, config=config))
    assert outcome.state == "failed"
    assert message in str(outcome.error)
    assert not project.starts()


# Secrets -----------------------------------------------------------------------------------------------------------


def test_a_script_sees_nothing_of_airflow_and_its_secrets_stand_nowhere(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "jwt-of-airflow")
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", "http://u:other-password@h")
    script = "import os, json, pathlib; pathlib.Path('outputs/seen').write_text(json.dumps(dict(os.environ)))"
    config = ScriptRunConfig("code", "train.py", secret_variables={"HF_TOKEN": "conn:hf/password", "KEY": "var:key"})
    airflow = FakeAirflow(
        connections={"hf": {"conn_type": "http", "password": "pass-of-hf"}}, variables={"key": "value-of-key"}
    )
    outcome = airflow.run(operator(project, script, config=config))
    assert outcome.state == "success", outcome.log
    (seen_file,) = project.workspace.glob("**/outputs/seen")
    seen = json.loads(seen_file.read_text())
    assert (seen["HF_TOKEN"], seen["KEY"]) == ("pass-of-hf", "value-of-key")
    assert not [name for name in seen if name.startswith("AIRFLOW")]
    assert "jwt-of-airflow" not in seen.values()
    secrets = ("pass-of-hf", "value-of-key", "jwt-of-airflow", "other-password")
    said = json.dumps([airflow.stored.xcom, airflow.stored.rendered, airflow.stored.task_state, outcome.lines])
    assert not [secret for secret in secrets if secret in said]
    for root in (project.target, project.workspace, project.root / "cache"):
        for path in root.rglob("*"):
            if path.is_file() and path.name != "seen":
                content = path.read_bytes()
                assert not [secret for secret in secrets if secret.encode() in content], path


def test_a_connection_of_this_host_names_a_target_with_a_set_up_of_its_own(project: Project) -> None:
    extra = {
        "root": str(project.root / "box"),
        "interpreter": sys.executable,
        "max_runs": 2,
        "environment_variables": {"WHERE": "box", "RATE": "0"},
    }
    airflow = FakeAirflow(connections={"box": {"conn_type": "scriptrun_local", "extra": json.dumps(extra)}})
    config = ScriptRunConfig("code", "train.py", compute_target="box", environment_variables={"RATE": "1"})
    outcome = airflow.run(operator(project, config=config))
    assert outcome.state == "success", outcome.error
    assert outcome.record["target"]["name"] == "box"
    seen = shown(project, outcome.record)
    assert seen["folder"].startswith(str(project.root / "box"))
    assert (seen["variables"]["WHERE"], seen["variables"]["RATE"]) == ("box", "1")


def test_a_task_that_says_no_bundle_has_none_and_another_has_its_name_and_version() -> None:
    context: Any = {
        "ti": SimpleNamespace(bundle_instance=SimpleNamespace(name="dags", version="3f2c", path=Path("/d")))
    }
    nowhere: Any = {"ti": object()}
    assert bundle(nowhere) is None
    assert bundle(context) == Bundle("dags", "3f2c", folder=Path("/d"))


def test_a_worker_that_airflow_has_given_up_starts_nothing(project: Project) -> None:
    """It wakes up before it has stored its lineage: the newer try may have stored one, and started a run."""
    airflow = FakeAirflow(retries=3)
    airflow.on_request = lambda method, path: (
        airflow.next_try() if (method, path.rsplit("/", 1)[-1]) == ("PUT", "scriptrun.lineage") else None
    )
    outcome = airflow.run(operator(project))
    assert outcome.state != "success"
    assert "lineage" not in json.dumps(airflow.stored.task_state)
    assert not list((project.target / "runs").glob("*"))


# Housekeeping ------------------------------------------------------------------------------------------------------


def test_a_task_leaves_no_process_and_no_open_file_behind(project: Project) -> None:
    made = operator(project)
    FakeAirflow().run(made)
    before, others = open_descriptors(), children()
    for _ in range(3):
        FakeAirflow().run(made)
    assert open_descriptors() <= before
    until(lambda: children() <= others, "the end of child processes")


def children() -> set[str]:
    """Return the process ids of what this process has started; a server that other tests share may be among them."""
    found: set[str] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            found.update(path.read_text().split())
    return found


def test_an_environment_may_be_named_in_a_template_field(project: Project) -> None:
    environment = Environment("here")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = sys.executable
    record = (
        FakeAirflow().run(operator(project, config=ScriptRunConfig("code", "train.py", environment=environment))).record
    )
    assert record["environment"]["name"] == "here"


@pytest.mark.parametrize("reference", ["conn:hf/password", "var:key"])
def test_an_api_server_that_is_away_is_not_taken_for_a_missing_connection(project: Project, reference: str) -> None:
    airflow = FakeAirflow(retries=1)
    airflow.on_request = lambda _, path: airflow.go_away(away=path.startswith(("/connections/", "/variables/")))
    config = ScriptRunConfig("code", "train.py", secret_variables={"TOKEN": reference})
    outcome = airflow.run(operator(project, config=config))
    assert outcome.state == "up_for_retry"
    assert not isinstance(outcome.error, ConfigurationError)


def test_a_task_can_ask_for_its_environment_to_be_resolved_again(project: Project) -> None:
    found = []
    for options in ({}, {"refresh_environment": True}):
        record = FakeAirflow().run(operator(project, **options)).record
        submission = Run.from_record(record, Workspace(project.workspace)).submission
        found.append(submission["environment"]["delivery"]["refresh"])
    assert found == [False, True]
    assert "refresh_environment" not in ScriptRunOperator.template_fields


def test_the_lineage_of_a_task_is_named_by_it_and_when_its_dag_run_began() -> None:
    def named(began: datetime | None = datetime(2026, 1, 1, tzinfo=timezone.utc), **other: Any) -> str | None:
        ti = SimpleNamespace(**{"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": None, **other})
        context: Any = {"ti": ti, "dag_run": SimpleNamespace(start_date=began)}
        return seed(context)

    later = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=1)
    assert named() == named()
    assert len({named(), named(task_id="u"), named(map_index=0), named(run_id="s"), named(began=later)}) == 5
    assert named(began=None) is None
