"""What stands on a task beside its record: buttons, asset events, the name of a mapped instance."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, Asset, AssetAlias, BaseXCom
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator
from airflow_provider.scriptrun.operators import outlets
from tests.airflow.harness import FakeAirflow
from tests.airflow.project import PATIENCE_SECONDS, SCRIPT, Project, until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

METRIC = """
import json, os
with open(os.environ["SCRIPTRUN_MESSAGES"], "a") as file:
    file.write(json.dumps({"type": "metric", "name": "rmse", "value": 0.25}) + "\\n")
"""


def operator(project: Project, script: str = SCRIPT, **options: Any) -> ScriptRunOperator:
    project.write_dag(script=script)
    with DAG("dag") as dag:
        config = ScriptRunConfig("code", "train.py", [str(project.traces)])
        made = ScriptRunOperator(task_id="train", config=config, **options)
    dag.fileloc = str(project.dags / "dag.py")
    return made


@pytest.mark.slow
def test_the_runs_folder_and_its_commit_can_be_opened_while_the_script_runs(project: Project, page: str) -> None:
    airflow, task = FakeAirflow(), operator(project, execution_timeout=timedelta(seconds=PATIENCE_SECONDS))
    commit = project.commit("https://token:x@github.com/team/code.git")
    pushed: set[str] = set()

    def release_once_both_are_there(method: str, path: str) -> None:
        if method == "POST" and "_link_" in path:
            pushed.add(path.rpartition("_link_")[2])
            if pushed == {"RunFolderLink", "CommitLink"}:
                until(project.starts, "the script's start")
                project.release()

    airflow.on_request = release_once_both_are_there
    project.hold()
    outcome = airflow.run(task)
    assert outcome.state == "success", outcome.log
    (log,) = project.workspace.glob("**/run.log")
    assert outcome.links == {
        "RunFolder": f"{page}/{log.parent.relative_to(project.workspace)}/",
        "Commit": f"https://github.com/team/code/commit/{commit}",
    }


@pytest.mark.slow
def test_a_link_is_an_address_from_the_first_even_where_a_backend_keeps_xcoms_elsewhere(
    project: Project, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(BaseXCom):
        @staticmethod
        def serialize_value(value: Any, **_: Any) -> str:
            return "s3://xcoms/1"

    monkeypatch.setattr(task_runner, "XCom", Elsewhere)
    airflow, shown = FakeAirflow(), []
    airflow.on_request = lambda *_: shown.append(airflow.stored.xcom.get("_link_RunFolderLink"))
    outcome = airflow.run(operator(project))
    assert outcome.xcom["return_value"] == "s3://xcoms/1", outcome.log
    assert {url for url in shown if url is not None} == {outcome.links["RunFolder"]}


class GitDagBundle:
    """What a task sees of Airflow's ``GitDagBundle`` (of its Git provider, which is not installed here)."""

    name, version = "team-dags", "0123456789abcdef0123456789abcdef01234567"
    repo_url = "https://user:hunter2@gitlab.example.com/team/dags.git"

    def __init__(self, repo_path: Path) -> None:
        self.repo_path, self.path = repo_path, repo_path / "dags"


@pytest.mark.slow
def test_a_git_bundle_without_its_git_folder_has_a_commit_to_open(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RuntimeTaskInstance, "bundle_instance", GitDagBundle(project.root), raising=False)
    outcome = FakeAirflow().run(operator(project))
    assert outcome.state == "success", outcome.log
    assert outcome.links["Commit"] == f"https://gitlab.example.com/team/dags/-/commit/{GitDagBundle.version}"
    assert outcome.record["git"]["repository"] == "https://gitlab.example.com/team/dags.git"
    assert "hunter2" not in json.dumps(outcome.xcom)
    assert not [path for path in project.workspace.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]


class Events:
    """Airflow's ``outlet_events``, as far as a task uses them."""

    def __init__(self) -> None:
        self.extra: dict[str, Any] = {}
        self.added: list[tuple[Asset, Mapping[str, Any]]] = []

    def __getitem__(self, outlet: Any) -> Events:
        return self

    def add(self, asset: Asset, extra: Mapping[str, Any]) -> None:
        self.added.append((asset, extra))


def test_an_asset_hears_which_run_it_was_and_an_alias_gets_an_asset_of_its_name() -> None:
    record = {
        "run_id": "churn_1_a",
        "experiment": "churn",
        "metrics": {"rmse": 0.25},
        "outputs": {"uri": "s3://b/experiments/churn/churn_1_a/outputs"},
        "snapshot": {"id": "ab" * 32},
    }
    events = Events()
    task = type("Task", (), {"outlets": [Asset(name="model", uri="s3://b/model"), AssetAlias("models/churn")]})
    context: Any = {"outlet_events": events, "ti": type("Instance", (), {"task": task})}
    outlets.tell(context, record, experiment_uri="/srv/workspace/experiments/churn")
    told = {
        "run_id": "churn_1_a",
        "experiment": "churn",
        "metrics": {"rmse": 0.25},
        "outputs": "s3://b/experiments/churn/churn_1_a/outputs",
        "snapshot": "ab" * 32,
    }
    assert events.extra == told
    ((asset, extra),) = events.added
    assert (asset.name, asset.uri, extra) == ("models/churn", "file:///srv/workspace/experiments/churn", told)


@pytest.mark.parametrize(
    ("config", "options", "label"),
    [
        ({"arguments": ["--lr", "0.1"]}, {}, "--lr 0.1"),
        ({"arguments": ["--lr", "0.1"], "compute_target": "gpu1"}, {}, "--lr 0.1 on gpu1"),
        ({"run_config": {"arguments": ["a"], "target": "gpu1"}}, {}, "a on gpu1"),
        ({"arguments": ["a"]}, {"arguments": ["b"], "compute_target": "local"}, "b"),
        ({}, {}, "train.py"),
        ({"environment_variables": {"SEED": 1}}, {}, "SEED=1"),
        ({"arguments": ["a"], "environment_variables": {"SEED": 1}}, {"environment_variables": {"LR": 2}}, "a LR=2"),
        ({"arguments": ["x" * 500]}, {}, "x" * 119 + "…"),
    ],
    ids=str,
)
def test_a_mapped_instance_is_called_after_what_tells_it_apart(
    config: dict[str, Any], options: dict[str, Any], label: str
) -> None:
    task = ScriptRunOperator(
        task_id="train", config={"source_directory": "code", "script": "train.py", **config}, **options
    )
    assert task.label == label


def test_a_mapped_task_has_readable_names_out_of_the_box_and_the_persons_own_win() -> None:
    with DAG("dag"):
        mapped = ScriptRunOperator.partial(task_id="a").expand(config=[ScriptRunConfig("code", "train.py")])
        own = ScriptRunOperator.partial(task_id="b", map_index_template="{{ 1 }}").expand(
            config=[{"source_directory": "code", "script": "train.py"}]
        )
    assert mapped.map_index_template == "{{ task.label }}"
    assert own.map_index_template == "{{ 1 }}"


@pytest.mark.slow
def test_the_links_are_there_after_a_retry_too(project: Project, page: str) -> None:
    airflow, task = FakeAirflow(retries=1), operator(project)
    (project.traces / "fail").touch()
    first = airflow.run(task)
    assert first.xcom["_link_RunFolderLink"].startswith(page)
    (project.traces / "fail").unlink()
    airflow.next_try()
    second = airflow.run(task)
    assert second.xcom["_link_RunFolderLink"] != first.xcom["_link_RunFolderLink"]
    until(project.starts, "a start")
