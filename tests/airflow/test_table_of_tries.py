"""Exactly one: what follows when workers die, tasks fail, are retried, cleared, marked, killed, timed out."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.airflow.project import Project, is_alive, until
from tests.airflow.tries import WHOLE_LOG, Tries

if TYPE_CHECKING:
    from tests.airflow.workers import Nursery

pytestmark = pytest.mark.slow

#: How often each named crash is repeated.
ROUNDS = int(os.environ.get("SCRIPTRUN_CRASH_ROUNDS", "20"))
#: Airflow kills a task that it told to stop after this time.
GRACE_SECONDS = 5.0


@pytest.fixture
def tries(project: Project, workers: Nursery) -> Tries:
    return Tries(project, workers)


# The worker died ---------------------------------------------------------------------------------------------------


def test_the_next_try_joins_a_run_that_goes_on(tries: Tries) -> None:
    worker, run_id, pid = tries.running()
    worker.signal(signal.SIGKILL)
    assert worker.wait() is None
    tries.airflow.next_try()
    second = tries.start()
    until(lambda: "oined" in second.log(), "the second try joins")
    assert is_alive(pid)
    tries.project.release()
    ending = second.wait()
    assert ending is not None
    assert ending.state == "success", ending
    assert [start[0] for start in tries.project.starts()] == [run_id]
    assert tries.record["run_id"] == run_id
    assert tries.record["status"] == "Completed"
    assert tries.project.run_log(run_id).decode() == WHOLE_LOG


def test_the_next_try_collects_a_run_that_has_completed_meanwhile(tries: Tries) -> None:
    worker, run_id, _ = tries.running()
    worker.signal(signal.SIGKILL)
    worker.wait()
    tries.project.release()
    until(lambda: tries.project.status(run_id)["status"] == "Completed", "the run's end")
    tries.airflow.next_try()
    assert tries.finish().state == "success"
    assert len(tries.project.starts()) == 1
    assert tries.record["run_id"] == run_id
    assert tries.project.run_log(run_id).decode() == WHOLE_LOG


def test_the_next_try_collects_a_run_that_has_failed_meanwhile_and_starts_another(tries: Tries) -> None:
    worker, first, _ = tries.running()
    worker.signal(signal.SIGKILL)
    worker.wait()
    (tries.project.traces / "fail").touch()
    tries.project.release()
    until(lambda: tries.project.status(first)["status"] == "Failed", "the run's end")
    (tries.project.traces / "fail").unlink()
    tries.airflow.next_try()
    assert tries.finish().state == "success"
    assert len(tries.project.starts()) == 2
    assert tries.record["run_id"] != first
    assert tries.kept_record(first)["status"] == "Failed"
    assert tries.kept_record(first)["exit_code"] == 3


def test_a_run_that_nobody_watches_ends_itself_and_the_next_try_starts_another(tries: Tries) -> None:
    worker, first, pid = tries.running(AIRFLOW__SCRIPTRUN__LOCAL_ORPHAN_AFTER_SECONDS="1")
    worker.signal(signal.SIGKILL)
    worker.wait()
    until(lambda: tries.project.status(first)["status"] == "Failed", "the lease's end")
    assert not is_alive(pid)
    tries.project.release()
    tries.airflow.next_try()
    assert tries.finish().state == "success"
    assert len(tries.project.starts()) == 2
    assert tries.kept_record(first)["reason"] == "orphaned"


# The script failed -------------------------------------------------------------------------------------------------


def test_a_failing_script_is_not_tried_again_where_nobody_asked_for_retries(tries: Tries) -> None:
    (tries.project.traces / "fail").touch()
    ending = tries.finish()
    assert (ending.state, ending.error) == ("failed", "ScriptFailedError")
    assert "exit code 3" in ending.message
    assert "no convergence" in ending.message
    assert tries.record["status"] == "Failed"
    assert tries.record["exit_code"] == 3
    assert [file["path"] for file in tries.record["outputs"]["files"]] == ["model.txt"]


def test_a_retry_of_a_failed_script_that_a_person_asked_for_is_a_new_run(project: Project, workers: Nursery) -> None:
    tries = Tries(project, workers, retries=1, operator="retries=1")
    (project.traces / "fail").touch()
    assert tries.finish().state == "up_for_retry"
    (project.traces / "fail").unlink()
    tries.airflow.next_try()
    assert tries.finish().state == "success"
    runs = [start[0] for start in project.starts()]
    assert len(set(runs)) == 2
    assert tries.record["run_id"] == runs[1]


# A person cleared the task -----------------------------------------------------------------------------------------


def test_a_cleared_success_runs_again(tries: Tries) -> None:
    assert tries.finish().state == "success"
    tries.airflow.clear()
    assert tries.finish().state == "success"
    runs = [start[0] for start in tries.project.starts()]
    assert len(set(runs)) == 2
    assert tries.record["run_id"] == runs[1]


def test_a_clear_that_leaves_max_tries_as_it_was_is_known_by_the_dag_run(tries: Tries) -> None:
    assert tries.finish().state == "success"
    tries.airflow.clear_sibling()
    tries.airflow.next_try()
    assert tries.finish().state == "success"
    assert len(tries.project.starts()) == 2


def test_clearing_another_task_of_the_dag_run_does_not_concern_a_run_that_goes_on(tries: Tries) -> None:
    worker, run_id, _ = tries.running()
    worker.signal(signal.SIGKILL)
    worker.wait()
    tries.airflow.clear_sibling()
    tries.airflow.next_try()
    second = tries.start()
    until(lambda: "oined" in second.log(), "the second try joins")
    tries.project.release()
    assert second.wait() is not None
    assert [start[0] for start in tries.project.starts()] == [run_id]


def test_a_task_cleared_after_its_worker_died_cancels_what_is_alive_and_runs_again(tries: Tries) -> None:
    worker, first, pid = tries.running()
    worker.signal(signal.SIGKILL)
    worker.wait()
    tries.airflow.clear()
    second = tries.start()
    until(lambda: len(tries.project.starts()) == 2, "the second run")
    assert not is_alive(pid)
    tries.project.release()
    ending = second.wait()
    assert ending is not None
    assert ending.state == "success"
    assert tries.kept_record(first)["status"] == "Canceled"


def test_a_task_cleared_while_it_runs_cancels_its_run_at_once(tries: Tries) -> None:
    worker, _, pid = tries.running()
    tries.airflow.set_state("restarting")
    worker.signal(signal.SIGTERM)
    ending = worker.wait(GRACE_SECONDS)
    assert ending is not None
    assert ending.error == "RunCanceledError"
    until(lambda: not is_alive(pid), "the script's end")
    tries.project.release()
    tries.airflow.clear()
    assert tries.finish().state == "success"
    assert len(tries.project.starts()) == 2


# The task was told to stop -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["failed", "success", "gone"])
def test_a_task_that_a_person_ends_while_it_runs_has_its_run_cancelled(tries: Tries, state: str) -> None:
    worker, run_id, pid = tries.running()
    tries.airflow.set_state(state)
    worker.signal(signal.SIGTERM)
    ending = worker.wait(GRACE_SECONDS)
    assert ending is not None
    assert ending.error == "RunCanceledError", ending
    until(lambda: tries.project.status(run_id)["status"] == "Canceled", "the run's end")
    assert not is_alive(pid)


def test_a_task_whose_dag_run_was_deleted_and_made_again_has_its_run_cancelled(tries: Tries) -> None:
    worker, run_id, pid = tries.running()
    tries.airflow.make_again()
    worker.signal(signal.SIGTERM)
    ending = worker.wait(GRACE_SECONDS)
    assert ending is not None
    assert ending.error == "RunCanceledError", ending
    until(lambda: tries.project.status(run_id)["status"] == "Canceled", "the run's end")
    assert not is_alive(pid)


def test_a_worker_that_is_stopped_while_other_tasks_are_cleared_gives_its_try_back(tries: Tries) -> None:
    worker, _, pid = tries.running()
    tries.airflow.clear_sibling()
    worker.signal(signal.SIGTERM)
    ending = worker.wait(GRACE_SECONDS)
    assert ending is not None
    assert ending.state == "up_for_reschedule", ending
    assert is_alive(pid)
    tries.airflow.again()
    tries.project.release()
    assert tries.finish().state == "success"


def test_a_worker_that_is_stopped_gives_its_try_back_and_the_run_goes_on(tries: Tries) -> None:
    worker, run_id, pid = tries.running()
    worker.signal(signal.SIGTERM)
    ending = worker.wait(GRACE_SECONDS)
    assert ending is not None
    assert ending.state == "up_for_reschedule", ending
    assert "goes on" in worker.log()
    assert is_alive(pid)
    tries.airflow.again()
    second = tries.start()
    until(lambda: "oined" in second.log(), "the second try joins")
    tries.project.release()
    assert second.wait() is not None
    assert [start[0] for start in tries.project.starts()] == [run_id]
    assert tries.record["status"] == "Completed"


def test_a_task_that_airflow_has_given_to_another_try_leaves_its_run_to_that(tries: Tries) -> None:
    worker, run_id, pid = tries.running()
    tries.airflow.set_state("up_for_retry")
    worker.signal(signal.SIGTERM)
    ending = worker.wait(GRACE_SECONDS)
    assert ending is not None
    assert ending.error == "RunGoesOnError"
    assert is_alive(pid)
    tries.airflow.next_try()
    tries.project.release()
    assert tries.finish().state == "success"
    assert [start[0] for start in tries.project.starts()] == [run_id]


def test_a_task_that_is_stopped_while_the_api_server_is_away_leaves_its_run_alone(tries: Tries) -> None:
    worker, run_id, pid = tries.running()
    tries.airflow.go_away()
    worker.signal(signal.SIGTERM)
    worker.wait(GRACE_SECONDS)
    assert is_alive(pid)
    tries.airflow.go_away(away=False)
    tries.airflow.next_try()
    tries.project.release()
    assert tries.finish().state == "success"
    assert [start[0] for start in tries.project.starts()] == [run_id]


def test_a_task_that_is_stopped_before_it_submitted_starts_nothing_later(tries: Tries) -> None:
    """The cancel comes before the start: SIGTERM at any moment of the submission."""
    for _ in range(5):
        tries.project.hold()
        worker = tries.start()
        time.sleep(random.uniform(0, 0.4))
        tries.airflow.set_state("failed")
        worker.signal(signal.SIGTERM)
        worker.wait(GRACE_SECONDS)
        for _, pid in tries.project.starts():
            until(lambda pid=pid: not is_alive(pid), "the script's end")
        tries.airflow.clear()


def test_an_execution_timeout_cancels_the_run_and_collects_what_it_left(project: Project, workers: Nursery) -> None:
    tries = Tries(project, workers, operator="execution_timeout=timedelta(seconds=15)")
    worker, run_id, pid = tries.running()
    ending = worker.wait()
    assert ending is not None
    assert (ending.state, ending.error) == ("failed", "RunTimeoutError")
    assert not is_alive(pid)
    assert tries.record["run_id"] == run_id
    assert (tries.record["status"], tries.record["reason"]) == ("Failed", "timeout")
    assert [file["path"] for file in tries.record["outputs"]["files"]] == ["model.txt"]


# What is secret ----------------------------------------------------------------------------------------------------


def test_a_secret_that_a_script_prints_is_masked_in_the_task_log(project: Project, workers: Nursery) -> None:
    tries = Tries(
        project,
        workers,
        config='secret_variables={"HF_TOKEN": "conn:hf/password", "KEY": "conn:hf/private_key"}',
        script="import os; print('first'); print('token', os.environ['HF_TOKEN']); print(os.environ['KEY'])",
        connections={
            "hf": {
                "conn_type": "http",
                "password": "pass-of-hf",
                "extra": json.dumps({"private_key": "first-line-of-key\nsecond-line-of-key"}),
            }
        },
    )
    worker = tries.start()
    ending = worker.wait()
    assert ending is not None
    assert ending.state == "success", worker.log()
    assert "token ***" in worker.log()
    for secret in ("pass-of-hf", "first-line-of-key", "second-line-of-key"):
        assert secret not in worker.log()


# Two at once -------------------------------------------------------------------------------------------------------


def test_two_workers_on_the_same_try_watch_one_run(tries: Tries) -> None:
    worker, run_id, _ = tries.running()
    worker.signal(signal.SIGKILL)
    worker.wait()
    tries.airflow.next_try()
    both = [tries.start(), tries.start()]
    for one in both:
        until(lambda one=one: "oined" in one.log(), "a try joins")
    tries.project.release()
    assert all(one.wait() is not None for one in both)
    assert [start[0] for start in tries.project.starts()] == [run_id]


def test_two_workers_that_race_for_a_new_run_start_one(tries: Tries) -> None:
    (tries.project.traces / "fail").touch()
    tries.finish()
    (tries.project.traces / "fail").unlink()
    tries.airflow.clear()
    tries.project.hold()
    both = [tries.start(), tries.start()]
    until(lambda: len(tries.project.starts()) == 2, "the new run")
    for one in both:
        until(lambda one=one: "is running" in one.log(), f"a worker that watches: {one.log()}")
    tries.project.release()
    endings = [one.wait() for one in both]
    assert any(ending is not None and ending.state == "success" for ending in endings)
    assert len(tries.project.starts()) == 2


def test_an_older_try_that_wakes_up_touches_nothing(tries: Tries) -> None:
    zombie, run_id, pid = tries.running()
    zombie.signal(signal.SIGSTOP)
    tries.airflow.next_try()
    second = tries.start()
    until(lambda: "oined" in second.log(), "the second try joins")
    zombie.signal(signal.SIGCONT)
    assert is_alive(pid)
    tries.project.release()
    assert zombie.wait() is not None
    assert second.wait() is not None
    assert [start[0] for start in tries.project.starts()] == [run_id]
    assert tries.record["status"] == "Completed"


# Crashes -----------------------------------------------------------------------------------------------------------

CRASH_POINTS = (
    "before_lineage",
    "after_lineage",
    "after_start_before_reply",
    "while_preparing",
    "while_running",
    "after_end_before_collect",
    "while_collecting",
    "after_collect",
)


def _a_worker_dies_at(tries: Tries, point: str) -> None:
    if point == "while_running":
        tries.project.hold()  # or the script might end before the worker has seen it run
    worker = tries.start(SCRIPTRUN_CRASH_POINT=point)
    assert worker.wait() is None, f"nothing died at {point}: {worker.log()}"
    tries.project.release()


def _the_task_ends_right(tries: Tries) -> None:
    tries.airflow.next_try()
    ending = tries.finish()
    assert ending.state == "success", ending
    starts = tries.project.starts()
    assert len(starts) == 1, starts
    assert tries.record["run_id"] == starts[0][0]
    assert tries.record["status"] == "Completed"
    assert tries.project.run_log(starts[0][0]).decode() == WHOLE_LOG
    outputs = tries.record["outputs"]
    assert [(file["path"], file["size"]) for file in outputs["files"]] == [("model.txt", 7000)]
    assert not is_alive(starts[0][1])


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_worker_killed_at_a_named_point_is_followed_by_a_try_that_ends_right(tries: Tries, point: str) -> None:
    _a_worker_dies_at(tries, point)
    _the_task_ends_right(tries)


@pytest.mark.crash
@pytest.mark.parametrize("point", CRASH_POINTS)
@pytest.mark.parametrize("number", range(ROUNDS))
def test_it_does_so_every_time(tries: Tries, point: str, number: int) -> None:
    chance = random.Random(f"{point} {number}")
    _a_worker_dies_at(tries, point)
    time.sleep(chance.uniform(0, 0.2))
    _the_task_ends_right(tries)


@pytest.mark.crash
@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_worker_killed_at_any_moment_is_followed_by_a_try_that_ends_right(tries: Tries, number: int) -> None:
    chance = random.Random(number)
    worker = tries.start()
    time.sleep(chance.uniform(0, 1.2))
    worker.signal(signal.SIGKILL)
    worker.wait()
    _the_task_ends_right(tries)
