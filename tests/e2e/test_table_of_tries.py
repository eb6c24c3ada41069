"""Exactly one, in a real Airflow: every row of the table of tries, in a worker or deferred, on hosts and in containers.

Each test takes all the lanes through a row at once.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable

import pytest

from scripts.airflow_services import API_SERVER, TRIGGERERS, AirflowServices
from tests.e2e.lane import CONTAINERS, E2E, LANES, Lane
from tests.e2e.together import (
    check_success,
    kill_watchers,
    runner_of,
    told,
    until_all_wait,
    until_canceled,
    until_runner_gone,
)

pytestmark = [*E2E, pytest.mark.needs("docker")]

#: What the script prints first.
STARTED = "the script has started"


@pytest.fixture
def waiting(lane: Callable[..., Lane]) -> Callable[..., list[Lane]]:
    """Start a DAG run in each lane, and wait until its script runs and its task waits."""

    def start(names: Iterable[str] = LANES, kind: str = "job") -> list[Lane]:
        return until_all_wait([lane(name, kind) for name in names])

    return start


def without_repeats(lines: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(lines))


def test_a_run_whose_watcher_died_is_joined_and_its_log_goes_on(
    airflow: AirflowServices, waiting: Callable[..., list[Lane]]
) -> None:
    jobs = waiting()
    told(jobs, "line one")
    tries = {job: job.try_number() for job in jobs}
    kill_watchers(airflow, jobs)
    for job in jobs:
        job.say("line that nobody saw")
    airflow.restore()
    for job in jobs:
        job.until_try(tries[job] if job.is_deferrable else tries[job] + 1)
    told(jobs, "line two")
    for job in jobs:
        job.go()
    for job in jobs:
        check_success(job, "line one", "line that nobody saw", "line two")
        # a reader that was killed may have shown more than it could note
        assert without_repeats(job.shown()) == job.run_log(job.record()), job
        # it goes on where the first reader noted to have come, or begins anew where that had noted nothing yet
        is_said = any("The log goes on at byte" in line for line in job.whole_log())
        assert is_said or job.shown().count(STARTED) > 1, job


def test_a_run_that_completed_while_nobody_watched_is_collected_and_one_that_failed_is_followed_by_another(
    airflow: AirflowServices, lane: Callable[..., Lane]
) -> None:
    completed, failed = [lane(name) for name in LANES], [lane(name) for name in LANES]
    jobs = until_all_wait(completed + failed)
    kill_watchers(airflow, jobs)
    for job in completed:
        job.go()
    for job in failed:
        job.fail()
    for job in jobs:
        job.until_gone(job.starts()[0])
    airflow.restore()
    for job in completed:
        check_success(job)
    for job in failed:
        if job.is_deferrable:  # the same try hears of it: nothing follows a script that failed
            assert job.until_over() == "failed"
            assert len(job.starts()) == 1
            assert (job.record()["status"], job.record()["exit_code"]) == ("Failed", 3)
        else:
            job.until_started(2)
            job.go()
            check_success(job, starts=2)


def test_a_failed_script_is_followed_by_a_new_run_only_where_a_person_asked_for_retries(
    lane: Callable[..., Lane],
) -> None:
    alone, again = [lane(name) for name in LANES], [lane(name, "again") for name in LANES]
    for job in until_all_wait(alone + again):
        job.fail()
    for job in again:
        job.until_started(2)
        job.until_waiting()  # no retry is left for one that comes back before the scheduler has heard of its deferral
        job.go()
        check_success(job, starts=2)
    for job in alone:
        assert job.until_over() == "failed"
        assert len(job.starts()) == 1
        record = job.record()
        assert (record["status"], record["exit_code"]) == ("Failed", 3)
        assert [file["path"] for file in record["outputs"]["files"]] == ["begun.txt"]


def test_a_cleared_task_runs_anew_whatever_its_state_was(waiting: Callable[..., list[Lane]]) -> None:
    jobs = waiting()
    for job in jobs:  # while it waits
        job.clear()
    for job in jobs:
        job.until_started(2)
        assert not job.is_alive(job.starts()[0]), "the first run is dead before the second one starts"
        job.until_waiting()
        job.fail()
    for job in jobs:
        assert job.until_over() == "failed"
        job.clear()  # after it failed
    for job in jobs:
        job.until_started(3)
        job.until_waiting()
        job.go()
    for job in jobs:
        check_success(job, starts=3)
        job.clear()  # after success
    for job in jobs:
        job.until_started(4)
        check_success(job, starts=4)
        assert job.status(job.starts()[0])["status"] == "Canceled"


@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_task_that_a_person_marks_while_its_script_runs_takes_the_script_with_it(
    waiting: Callable[..., list[Lane]], state: str
) -> None:
    jobs = waiting()
    told(jobs, "line one")  # a trigger that no triggerer has begun yet hears of nothing: the run ends by its lease
    assert [job.name for job in jobs if job.has_container(job.starts()[0])] == list(CONTAINERS)
    for job in jobs:
        job.mark(state)
    for job in jobs:
        until_canceled(job)
        assert job.until_over() == state
        assert job.task()["state"] == state
        assert len(job.starts()) == 1


@pytest.mark.parametrize("state", ["failed", "queued"])
def test_a_dag_run_that_a_person_gave_another_state_and_deleted_takes_its_script_with_it(
    waiting: Callable[..., list[Lane]], state: str
) -> None:
    jobs = waiting()
    told(jobs, "line one")  # a trigger that no triggerer has begun yet hears of nothing
    for job in jobs:
        job.delete(state)  # where it was queued, its task runs or is deferred to the end
    for job in jobs:
        until_canceled(job)
        assert len(job.starts()) == 1


def test_a_dag_run_that_was_deleted_and_made_again_under_its_name_has_a_run_of_its_own(
    waiting: Callable[..., list[Lane]],
) -> None:
    jobs = waiting()
    told(jobs, "line one")  # a trigger that no triggerer has begun yet hears of nothing
    for job in jobs:
        job.delete("failed")
        job.make_again()
    for job in jobs:
        second = job.until_started(2)
        first = job.starts()[0]
        if not job.is_deferrable:  # a trigger that is late takes the new task for its own: the run ends by its lease
            job.until_gone(first)
            job.until(lambda job=job, first=first: job.status(first)["status"] == "Canceled", "the first run's end")
        assert job.is_alive(second)
        job.until_waiting()
        job.go()
        check_success(job, "line one", starts=2)


def test_a_dag_that_a_person_deletes_takes_its_script_with_it(waiting: Callable[..., list[Lane]]) -> None:
    jobs = waiting(kind="doomed")
    told(jobs, "line one")  # a trigger that no triggerer has begun yet hears of nothing
    for job in jobs:
        job.delete_dag("failed")
    for job in jobs:
        until_canceled(job)


def test_a_run_without_a_task_that_could_come_back_ends_itself_and_says_so(
    airflow: AirflowServices, waiting: Callable[..., list[Lane]]
) -> None:
    jobs = waiting(kind="leased")
    kill_watchers(airflow, jobs)
    for job in jobs:
        job.mark("failed")
    for job in jobs:
        (run_id,) = job.starts()
        job.until_gone(run_id)
        job.until(lambda job=job, run_id=run_id: job.status(run_id)["status"] == "Failed", "the run's end")
        assert job.status(run_id)["reason"] == "orphaned"
        assert "Nobody watched it for 60 s" in job.status(run_id)["message"]
    airflow.restore()
    for job in jobs:
        assert job.until_over() == "failed"
        assert len(job.starts()) == 1


@pytest.mark.parametrize("kind", ["brief", "limited"])
def test_a_task_over_its_time_ends_its_run_and_keeps_what_it_left(lane: Callable[..., Lane], kind: str) -> None:
    jobs = [lane(name, kind) for name in LANES]
    for job in jobs:
        job.say("line one")
    for job in jobs:
        assert job.until_over() == "failed"
        (run_id,) = job.starts()
        assert not job.is_alive(run_id)
        record = job.record()
        assert (record["run_id"], record["status"], record["reason"]) == (run_id, "Failed", "timeout")
        assert [file["path"] for file in record["outputs"]["files"]] == ["begun.txt"]
        assert job.run_log(record) == ["the script has started", "line one"]
        was_deferred = any("the triggerer watches it" in line for line in job.whole_log())
        assert was_deferred == job.is_deferrable


def test_a_worker_or_triggerer_that_is_told_to_go_leaves_the_run_to_the_same_try(
    airflow: AirflowServices, waiting: Callable[..., list[Lane]]
) -> None:
    jobs = waiting()
    told(jobs, "line one")
    tries = {job: job.try_number() for job in jobs}
    runners = {job: runner_of(job) for job in jobs if not job.is_deferrable}
    for runner in runners.values():
        os.kill(runner, signal.SIGTERM)
    for name in TRIGGERERS:
        airflow[name].stop()
    airflow.restore()
    for job, runner in runners.items():
        job.until(lambda job=job, runner=runner: runner_of(job) != runner, "another worker")
    told(jobs, "line two")
    for job in jobs:
        assert job.try_number() == tries[job]
        job.go()
    for job in jobs:
        check_success(job, "line one", "line two")
        # a triggerer notes how far it has come every few seconds, so the next one may show a line again
        shown = without_repeats(job.shown()) if job.is_deferrable else job.shown()
        assert shown == job.run_log(job.record()), job


def test_a_run_goes_on_while_the_api_server_is_away(
    airflow: AirflowServices, waiting: Callable[..., list[Lane]]
) -> None:
    jobs = waiting(kind="patient")
    told(jobs, "line one")
    tries = {job: job.try_number() for job in jobs}
    runners = {job: runner_of(job) for job in jobs if not job.is_deferrable}
    airflow[API_SERVER].stop()
    for job, runner in runners.items():
        until_runner_gone(job, runner)  # its worker gives up
    for job in jobs:
        assert job.is_alive(job.starts()[0])
        job.say("line two")
    airflow.restore()
    for job in jobs:
        job.until_try(tries[job] if job.is_deferrable else tries[job] + 1)
        job.go()
    for job in jobs:
        check_success(job, "line one", "line two")
