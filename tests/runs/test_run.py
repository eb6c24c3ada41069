"""Runs on the real local target, from plain Python."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from airflow_provider.scriptrun.config import ScriptRunConfig
from airflow_provider.scriptrun.errors import (
    RunCanceledError,
    RunNotFoundError,
    RunTimeoutError,
    ScriptFailedError,
    ScriptRunError,
    WorkspaceError,
)
from airflow_provider.scriptrun.runs import Experiment, Run, Workspace, surroundings
from airflow_provider.scriptrun.runs.lineage import LINEAGE, Attempt
from airflow_provider.scriptrun.runs.reporter import Printer
from airflow_provider.scriptrun.runs.submission import submit
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from tests.runs.fakes import Ears, FakeSurroundings

SCRIPT = """
import json, os, pathlib, sys
print("hello", *sys.argv[1:], flush=True)
print("trouble", file=sys.stderr, flush=True)
pathlib.Path("outputs/deep").mkdir()
pathlib.Path("outputs/model.txt").write_text("model")
pathlib.Path("outputs/deep/empty").write_text("")
pathlib.Path("logs/more.log").write_text("more")
with open(os.environ["SCRIPTRUN_MESSAGES"], "a") as file:
    for message in ({"metric": "rmse", "value": 2.0}, {"metric": "rmse", "value": 1.0}, {"metric": "n", "value": 3},
                    {"metric": "row", "value": {"a": 1}}, {"metric": "row", "value": {"a": 2, "b": 3}},
                    {"tag": "stage", "value": "done"}):
        file.write(json.dumps(message) + "\\n")
"""

#: Says that it is there, then waits to be told to go on (or for its end).
WAITING = """
import os, pathlib, sys, time
print("here", flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.01)
print("going on", flush=True)
"""

PATIENCE_SECONDS = 30.0


def until(happens):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def world(tmp_path):
    """Surroundings under a folder of the test's own, in use; ``source/`` has the scripts."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "train.py").write_text(SCRIPT)
    (tmp_path / "source" / "wait.py").write_text(WAITING)
    (tmp_path / "source" / "fail.py").write_text("print('last words')\nraise SystemExit(3)\n")
    world = FakeSurroundings(tmp_path)
    previous = surroundings.use(world)
    yield world
    surroundings.use(previous)


@pytest.fixture
def experiment(world):
    return Experiment(Workspace.from_config(), "churn")


def config(script="train.py", *arguments, **more) -> ScriptRunConfig:
    return ScriptRunConfig("source", script, list(arguments), **more)


@pytest.fixture(scope="module")
def completed(tmp_path_factory):
    """One run that has Completed, for all tests that only look."""
    folder = tmp_path_factory.mktemp("completed")
    (folder / "source").mkdir()
    (folder / "source" / "train.py").write_text(SCRIPT)
    world = FakeSurroundings(folder)
    previous = surroundings.use(world)
    try:
        run = Experiment(Workspace.from_config(), "churn").submit(
            config("train.py", "--lr", 0.1, "two words", tags={"team": "a", "stage": "new"})
        )
        run.wait_for_completion()
    finally:
        surroundings.use(previous)
    return Run(run.workspace, "churn", run.id, surroundings=world)


def test_the_record_says_what_happened(completed):
    record = completed.record
    assert (record["status"], record["exit_code"], record["reason"]) == ("Completed", 0, None)
    assert record["command"] == ["python", "train.py", "--lr", "0.1", "two words"]
    assert record["metrics"] == {"rmse": 1.0, "n": 3, "row": {"a": 2, "b": 3}}
    assert [file["path"] for file in record["outputs"]["files"]] == ["deep/empty", "model.txt"]
    assert record["outputs"]["count"] == 2
    assert record["snapshot"]["sent_files"] == 1
    assert record["environment"]["python"]
    assert set(record["phases"]) >= {"snapshot", "send", "environment", "run", "collect"}
    assert record["log"]["bytes"] == Path(record["log"]["uri"]).stat().st_size > 0
    json.dumps(record)


def test_metrics_are_a_value_a_series_or_columns(completed):
    assert completed.get_metrics() == {"rmse": [2.0, 1.0], "n": 3, "row": {"a": [1, 2], "b": [None, 3]}}
    assert completed.get_metrics("n") == {"n": 3}


def test_tags_come_from_the_configuration_the_script_and_from_outside(completed):
    assert completed.get_tags() == {"team": "a", "stage": "done"}
    completed.tag("stage", "reviewed")
    completed.tag("good")
    assert completed.get_tags() == {"team": "a", "stage": "reviewed", "good": ""}


def test_files_can_be_listed_and_copied(completed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert set(completed.get_file_names()) >= {"outputs/model.txt", "outputs/deep/empty", "logs/more.log", "run.log"}
    assert completed.download_file("outputs/model.txt").read_text() == "model"
    assert completed.download_file("outputs/model.txt", tmp_path / "x" / "y").read_text() == "model"
    copies = completed.download_files("outputs/", tmp_path / "copies")
    assert [str(path.relative_to(tmp_path)) for path in copies] == [
        "copies/outputs/deep/empty",
        "copies/outputs/model.txt",
    ]
    logs = completed.get_all_logs(tmp_path / "logs")
    assert {path.name for path in logs} == {"run.log", "build.log", "more.log"}
    with pytest.raises(RunNotFoundError, match=r"outputs/nothing"):
        completed.download_file("outputs/nothing")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        completed.download_file("outputs/model.txt", "/proc/nowhere")


def test_a_damaged_file_is_noticed_when_it_is_copied(completed, tmp_path):
    path = Path(completed.folder.uri("logs/more.log"))
    path.write_text("MORE")
    try:
        with pytest.raises(WorkspaceError, match="damaged"):
            completed.download_file("logs/more.log", tmp_path / "copy")
        assert list(tmp_path.iterdir()) == []
    finally:
        path.write_text("more")


def test_the_snapshot_that_ran_comes_back(completed, tmp_path):
    completed.restore_snapshot(tmp_path / "restored")
    assert (tmp_path / "restored" / "train.py").read_text() == SCRIPT


def test_details_have_azures_names(completed):
    details = completed.get_details()
    assert (details["runId"], details["target"], details["status"]) == (completed.id, "local", "Completed")
    assert details["error"] is None
    assert details["properties"]["ContentSnapshotId"] == completed.record["snapshot"]["id"]
    assert set(details["logFiles"]) == {"run.log", "build.log", "logs/more.log"}
    assert details["runDefinition"]["script"] == "train.py"
    json.dumps(details)


def test_a_run_is_found_again_by_id_and_by_record(completed):
    workspace = completed.workspace
    assert Run.get(workspace, completed.id).get_status() == "Completed"
    assert Run.from_record(completed.record, workspace).get_metrics("n") == {"n": 3}
    assert [run.id for run in Run.list(workspace, "churn")] == [completed.id]
    assert [experiment.name for experiment in Experiment.list(workspace)] == ["churn"]
    with pytest.raises(RunNotFoundError, match="churn_1_2"):
        Run.get(workspace, "churn_1_2")
    with pytest.raises(RunNotFoundError, match="no run record"):
        Run.from_record({"a": 1})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("x", r"'x' is no run record. a run record is a dictionary. Give the whole XCom value"),
        (None, "None is no run record"),
        ({"experiment": "e", "run_id": "r", "outputs": None}, "it has no outputs.uri"),
        ({"uri": "s3://b", "files": []}, "it has no experiment, run_id, outputs.uri"),
    ],
    ids=["text", "nothing", "no outputs", "the outputs alone"],
)
def test_what_is_no_record_is_refused_with_what_to_give_instead(given, words):
    with pytest.raises(RunNotFoundError, match=words):
        Run.from_record(given)


def test_a_record_alone_is_enough_to_find_the_workspace(completed, world):
    assert Run.from_record(completed.record).get_metrics("n") == {"n": 3}


def test_collecting_again_changes_nothing(completed):
    before, files = completed.record, completed.folder.files()
    run = Run(completed.workspace, "churn", completed.id, surroundings=completed._surroundings())
    again = run.collect()
    run.close()
    before["phases"].pop("collect")
    again["phases"].pop("collect")
    assert again == before
    assert completed.folder.files() == files


def test_output_is_shown_as_it_comes_and_once_more_afterwards(experiment, tmp_path, monkeypatch, capsys):
    note = Printer.note

    def let_go_on(self, text):
        note(self, text)
        if "is running" in text:  # the script waits until its watcher has seen it run
            (tmp_path / "go").touch()

    monkeypatch.setattr(Printer, "note", let_go_on)
    run = experiment.submit(config("wait.py", str(tmp_path / "go")))
    run.wait_for_completion(show_output=True)
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-2:] == ["here", "going on"]
    assert "is running" in shown.err
    run.wait_for_completion(show_output=True)
    assert capsys.readouterr().out.splitlines()[-2:] == ["here", "going on"]


def test_a_second_submission_of_the_same_tree_sends_nothing(experiment):
    experiment.submit(config()).wait_for_completion()
    run = experiment.submit(config())
    assert run.wait_for_completion()["record"]["snapshot"]["sent_files"] == 0
    assert [found.id for found in experiment.get_runs()][-1] == run.id


def test_a_script_that_fails_is_collected_and_raises_with_its_last_words(experiment):
    run = experiment.submit(config("fail.py"))
    with pytest.raises(ScriptFailedError, match=r"exit code 3(.|\n)*last words") as error:
        run.wait_for_completion()
    assert (error.value.exit_code, error.value.run_id) == (3, run.id)
    assert run.log_uri in str(error.value)
    assert run.record["exit_code"] == 3
    again = experiment.get_run(run.id)
    with pytest.raises(ScriptFailedError, match="last words"):
        again.wait_for_completion()
    details = again.wait_for_completion(raise_on_error=False)
    assert details["error"]["error"]["code"] == "script"


def test_metrics_and_status_can_be_asked_while_the_script_runs(experiment, tmp_path):
    (tmp_path / "source" / "log.py").write_text(
        "import os\nopen(os.environ['SCRIPTRUN_MESSAGES'], 'a').write('{\"metric\":\"a\",\"value\":1}\\n')\n" + WAITING
    )
    run, ears = experiment.submit(config("log.py", str(tmp_path / "go"))), Ears()
    watching = threading.Thread(target=run.watch, args=(ears,))
    watching.start()
    ears.heard("here")
    other = experiment.get_run(run.id)
    assert other.get_status() == "Running"
    assert other.get_metrics() == {"a": 1}
    assert other.get_details()["status"] == "Running"
    assert "run.log" in other.get_file_names()
    with pytest.raises(ScriptRunError, match="not over"):
        other.collect()
    (tmp_path / "go").touch()
    watching.join(30)
    assert ears.lines[-1] == "going on"
    run.close()
    other.close()


def test_a_cancel_goes_on_when_another_thread_that_used_the_run_closes_it(experiment, tmp_path):
    script = """
import pathlib, signal, sys, time
def told(*_):
    pathlib.Path(sys.argv[1], "told").touch()
    while not pathlib.Path(sys.argv[1], "go").exists():
        time.sleep(0.01)
    sys.exit(1)
signal.signal(signal.SIGTERM, told)
pathlib.Path(sys.argv[1], "there").touch()
while True:
    time.sleep(0.01)
"""
    (tmp_path / "source" / "slow.py").write_text(script)
    run = experiment.submit(ScriptRunConfig(tmp_path / "source", "slow.py", arguments=[str(tmp_path)]))
    until((tmp_path / "there").exists)
    with ThreadPoolExecutor(1) as pool:
        cancelling = pool.submit(run.cancel, wait_seconds=PATIENCE_SECONDS)
        until((tmp_path / "told").exists)
        run.close()
        (tmp_path / "go").touch()
        assert cancelling.result() is Status.CANCELED
    run.close()


def test_a_cancelled_run_is_dead_and_can_be_collected(experiment, tmp_path):
    run, ears = experiment.submit(config("wait.py", str(tmp_path / "never"))), Ears()
    watching = threading.Thread(target=run.watch, args=(ears,))
    watching.start()
    ears.heard("here")
    other = experiment.get_run(run.id)
    assert other.cancel() is Status.CANCELED
    other.close()
    watching.join(30)
    assert run.collect()["status"] == "Canceled"
    with pytest.raises(RunCanceledError):
        run.raise_for_status()
    assert run.get_status() == "Canceled"
    run.close()


def test_a_run_over_its_time_is_an_error_of_its_own(experiment, tmp_path):
    run = experiment.submit(config("wait.py", str(tmp_path / "never"), max_run_duration_seconds=0.3))
    with pytest.raises(RunTimeoutError):
        run.wait_for_completion()
    assert run.record["reason"] == "timeout"


def test_another_process_goes_on_where_this_one_stopped(experiment, world, tmp_path):
    run = experiment.submit(config("wait.py", str(tmp_path / "go")))
    script = """
import sys
from pathlib import Path
from airflow_provider.scriptrun.runs import Run, Workspace, surroundings
from tests.runs.fakes import FakeSurroundings
surroundings.use(FakeSurroundings(Path(sys.argv[1])))
run = Run.get(Workspace.from_config(), sys.argv[2])
Path(sys.argv[1], "go").touch()
run.wait_for_completion(show_output=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), run.id],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.stdout.splitlines()[-2:] == ["here", "going on"]
    assert run.get_status() == "Completed"
    run.close()


def test_an_interrupt_leaves_the_run_going_and_says_how_to_end_it(experiment, tmp_path, capsys):
    run = experiment.submit(config("wait.py", str(tmp_path / "go")))
    main = threading.get_ident()

    def interrupt():
        while "here" not in capsys.readouterr().out:
            time.sleep(0.01)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run.wait_for_completion(show_output=True)
    thread.join()
    assert "run.cancel()" in capsys.readouterr().err
    assert run.get_status() == "Running"
    (tmp_path / "go").touch()
    run.wait_for_completion()
    assert run.get_status() == "Completed"


def test_the_same_run_id_twice_starts_the_script_once(experiment, tmp_path):
    (tmp_path / "source" / "count.py").write_text(f"open({str(tmp_path / 'count')!r}, 'a').write('x')\n")
    runs = []
    threads = [
        threading.Thread(target=lambda: runs.append(experiment.submit(config("count.py"), run_id="mine")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs) == 4
    for run in runs:
        run.wait_for_completion()
    experiment.submit(config("count.py"), run_id="mine").wait_for_completion()
    assert (tmp_path / "count").read_text() == "x"


class LateStore:
    """A lineage store that two share, and that is empty for both: each is held up until the other has looked too."""

    def __init__(self):
        self.values, self._looked = {}, threading.Barrier(2)

    def get(self, name):
        value = self.values.get(name)
        if name == LINEAGE and value is None:
            self._looked.wait(30)
        return value

    def set(self, name, value):
        self.values[name] = value


def test_two_tries_that_race_with_an_empty_store_start_the_script_once(world, tmp_path):
    (tmp_path / "source" / "count.py").write_text(f"open({str(tmp_path / 'count')!r}, 'a').write('x')\n")
    store, runs = LateStore(), []

    def attempt(number):
        run = submit(
            config("count.py"), workspace=Workspace.from_config(), experiment="churn", lineage=store,
            seed="this task of this DAG run", attempt=Attempt(number, 3), reporter=Ears(), surroundings=world,
        )  # fmt: skip
        runs.append(run)
        run.wait_for_completion()

    threads = [threading.Thread(target=attempt, args=(1,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(runs) == 2
    assert len({run.id for run in runs}) == 1
    assert (tmp_path / "count").read_text() == "x"
    assert store.values[LINEAGE]["run_id"] in {runs[0].id}


@pytest.mark.needs("s3")
def test_a_workspace_on_s3_has_everything(s3_bucket, world, tmp_path):
    workspace = Workspace(f"s3://{s3_bucket}/team")
    run = Experiment(workspace, "churn").submit(config())
    record = run.wait_for_completion()["record"]
    assert record["log"]["uri"] == f"s3://{s3_bucket}/team/experiments/churn/{run.id}/run.log"
    again = Run.from_record(record)
    assert again.get_metrics("rmse") == {"rmse": [2.0, 1.0]}
    assert again.download_file("outputs/model.txt", tmp_path / "model").read_text() == "model"
    again.restore_snapshot(tmp_path / "restored")
    assert (tmp_path / "restored" / "train.py").read_text() == SCRIPT


@pytest.mark.slow
def test_a_large_log_is_collected_whole_in_little_memory(experiment, tmp_path):
    (tmp_path / "source" / "big.py").write_text(
        "import os\nline = b'x' * 99 + b'\\n'\nfor _ in range(200):\n    os.write(1, line * 10000)\n"
    )
    script = """
import resource, sys, time
from pathlib import Path
from airflow_provider.scriptrun.runs import Run, Workspace, surroundings
from tests.runs.fakes import FakeSurroundings
surroundings.use(FakeSurroundings(Path(sys.argv[1]), task_log_cap_bytes=1000))
run = Run.get(Workspace.from_config(), sys.argv[2])
run.watch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
record = run.collect()
print(record["log"]["bytes"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    run = experiment.submit(config("big.py"))
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), run.id],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    size, memory = map(int, done.stdout.split())
    assert size == 200_000_000
    assert memory < 20_000, "KiB"
    run.close()
