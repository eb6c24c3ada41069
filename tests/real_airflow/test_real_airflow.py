"""What a person sees of a real Airflow: the demo twice, retries, clears and kills."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from scripts.airflow_instance import AirflowInstance

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.xdist_group("real_airflow")]

#: How long the tests wait for what must happen.
PATIENCE_SECONDS = 600


def until(question: Any, what: str) -> Any:
    """Wait for an event that shows in a file, a process or the API."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        answer = question()
        if answer:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {PATIENCE_SECONDS} s")


def starts(folder: Path) -> list[tuple[str, int]]:
    """(run id, process id) of each start of the script."""
    path = folder / "starts"
    return [(line.split()[0], int(line.split()[1])) for line in path.read_text().splitlines()] if path.exists() else []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def task_instance(airflow: AirflowInstance, run_id: str, dag_id: str = "job") -> dict[str, Any]:
    return airflow.task_instance(dag_id, run_id, "job")


def worker_of(airflow: AirflowInstance, run_id: str) -> int:
    """The process id of the task runner that executes the task."""
    return int(until(lambda: task_instance(airflow, run_id)["pid"], "the worker of the task"))


def until_watched(airflow: AirflowInstance, run_id: str, folder: Path) -> None:
    """Wait until the triggerer watches the deferred task: it shows what the script prints."""
    until(lambda: task_instance(airflow, run_id, "job_deferred")["state"] == "deferred", "the task's being deferred")
    until(lambda: starts(folder), "the start of the script, which makes the folder")
    (folder / "ask").touch()
    until(lambda: "the script goes on" in airflow.task_log("job_deferred", run_id, "job"), "a line in the log")


@pytest.mark.needs("network")
def test_the_demo_builds_and_sends_once_and_says_so(airflow: AirflowInstance) -> None:
    shutil.rmtree(airflow.home / "target", ignore_errors=True)  # other examples share its code and environment
    reports = []
    for _ in range(2):
        run_id = airflow.trigger("train_local")
        assert airflow.wait_for_run("train_local", run_id, 600) == "success"
        reports.append("\n".join(airflow.task_log("train_local", run_id, "report")))
    first, second = reports
    assert "status       Completed" in first
    assert "metric       rmse = " in first
    assert "environment  sklearn: built" in first
    assert "nothing had to be sent" not in first
    assert "model.json" in first
    assert "environment  sklearn: reused, nothing was built" in second
    assert "nothing had to be sent" in second


def test_a_killed_worker_is_followed_by_a_try_that_joins(airflow: AirflowInstance, tmp_path: Path) -> None:
    run_id = airflow.trigger("job", {"folder": str(tmp_path)})
    until(lambda: starts(tmp_path), "the start of the script")
    runner = worker_of(airflow, run_id)
    supervisor = int(Path(f"/proc/{runner}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(supervisor, signal.SIGKILL)
    os.kill(runner, signal.SIGKILL)
    until(lambda: task_instance(airflow, run_id)["try_number"] == 2, "the second try")
    until(lambda: task_instance(airflow, run_id)["state"] == "running", "the second try's running")
    (tmp_path / "go").touch()
    assert airflow.wait_for_run("job", run_id, PATIENCE_SECONDS) == "success"
    assert len(starts(tmp_path)) == 1


def test_a_task_marked_failed_ends_its_script(airflow: AirflowInstance, tmp_path: Path) -> None:
    run_id = airflow.trigger("job", {"folder": str(tmp_path)})
    ((_, pid),) = until(lambda: starts(tmp_path), "the start of the script")
    airflow.mark("job", run_id, "job", "failed")
    until(lambda: not alive(pid), "the end of the script")
    assert airflow.wait_for_run("job", run_id, PATIENCE_SECONDS) == "failed"
    assert len(starts(tmp_path)) == 1


def test_of_two_deferred_tasks_one_comes_back_and_the_one_that_is_marked_failed_ends_its_script(
    airflow: AirflowInstance, tmp_path: Path
) -> None:
    folders = [tmp_path / "comes-back", tmp_path / "marked"]
    runs = [airflow.trigger("job_deferred", {"folder": str(folder)}) for folder in folders]
    for run_id, folder in zip(runs, folders, strict=True):
        until_watched(airflow, run_id, folder)
    ((_, pid),) = starts(folders[1])
    airflow.mark("job_deferred", runs[1], "job", "failed")
    (folders[0] / "go").touch()
    until(lambda: not alive(pid), "the end of the script")
    ends = [airflow.wait_for_run("job_deferred", run_id, PATIENCE_SECONDS) for run_id in runs]
    assert ends == ["success", "failed"]
    assert airflow.xcom("job_deferred", runs[0], "read") == "Completed ['done.txt']"
    assert [len(starts(folder)) for folder in folders] == [1, 1]


def test_a_cleared_task_runs_anew_after_success_and_while_it_runs(airflow: AirflowInstance, tmp_path: Path) -> None:
    run_id = airflow.trigger("job", {"folder": str(tmp_path)})
    ((_, first),) = until(lambda: starts(tmp_path), "the first start")
    airflow.clear("job", run_id, "job")
    until(lambda: len(starts(tmp_path)) == 2, "the second start, after a clear of a running task")
    assert not alive(first)
    (tmp_path / "go").touch()
    assert airflow.wait_for_run("job", run_id, PATIENCE_SECONDS) == "success"
    assert len(starts(tmp_path)) == 2

    airflow.clear("job", run_id, "job")
    until(lambda: len(starts(tmp_path)) == 3, "the third start, after a clear of a finished task")
    assert airflow.wait_for_run("job", run_id, PATIENCE_SECONDS) == "success"
    assert len({run for run, _ in starts(tmp_path)}) == 3


def test_a_worker_that_is_told_to_go_gives_its_try_back_and_leaves_the_run(
    airflow: AirflowInstance, tmp_path: Path
) -> None:
    run_id = airflow.trigger("job", {"folder": str(tmp_path)})
    ((_, pid),) = until(lambda: starts(tmp_path), "the start of the script")
    runner = worker_of(airflow, run_id)
    os.kill(runner, signal.SIGTERM)
    until(lambda: worker_of(airflow, run_id) != runner, "another worker")
    assert task_instance(airflow, run_id)["try_number"] == 1
    assert alive(pid)
    (tmp_path / "go").touch()
    assert airflow.wait_for_run("job", run_id, PATIENCE_SECONDS) == "success"
    assert len(starts(tmp_path)) == 1
