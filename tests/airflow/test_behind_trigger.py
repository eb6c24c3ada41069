"""What a task does that goes on behind its trigger, in another process: collect, hide, end in time, or start anew."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from airflow.sdk._shared import secrets_masker

from airflow_provider.scriptrun import (
    RunTimeoutError,
    ScriptFailedError,
)
from airflow_provider.scriptrun.triggers.wait import NOT_STARTED, TROUBLE
from tests.airflow.deferring import deferred, finish, operator, with_secret
from tests.airflow.harness import FakeAirflow
from tests.airflow.project import Project, until
from tests.airflow.triggerer import PATIENCE_SECONDS, Triggerer, trigger_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("defers_at_once")]


def test_the_last_lines_are_the_workers_to_show_since_airflow_drops_them_from_a_trigger(project: Project) -> None:
    airflow, task = FakeAirflow(), operator(project)
    deferred(project, task, airflow)
    run_id, _ = project.starts()[0]
    project.release()
    until(lambda: project.status(run_id)["status"] == "Completed", "the run's end")
    triggerer = Triggerer(trigger_of(airflow))
    airflow.fire(triggerer.wait())
    outcome = airflow.run(task)
    assert outcome.state == "success", outcome.log
    assert "done" not in triggerer.lines
    assert outcome.lines.count("done") == 1


def test_a_script_that_fails_meanwhile_fails_the_task(project: Project) -> None:
    airflow, task = FakeAirflow(), operator(project)
    deferred(project, task, airflow)
    (project.traces / "fail").touch()
    triggerer = Triggerer(trigger_of(airflow))
    project.release()
    airflow.fire(triggerer.wait())
    outcome = airflow.run(task)
    assert outcome.state == "failed"
    assert isinstance(outcome.error, ScriptFailedError)
    assert outcome.error.exit_code == 3
    assert "no convergence" in str(outcome.error)


def test_a_task_that_goes_on_in_another_process_hides_the_secret_that_its_script_prints(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow, task = with_secret(project, monkeypatch)
    project.release()
    airflow.fire(Triggerer(trigger_of(airflow)).wait())
    secrets_masker.reset_secrets_masker()  # as the masker of another process is
    assert airflow.run(task).state == "success"
    assert secrets_masker.redact("it is hunter2-hunter2") == "it is ***"


def test_a_secret_that_is_gone_when_a_task_goes_on_costs_no_result(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow, task = with_secret(project, monkeypatch)
    project.release()
    airflow.fire(Triggerer(trigger_of(airflow)).wait())
    monkeypatch.delenv("AIRFLOW_VAR_TOKEN")
    outcome = airflow.run(task)
    assert outcome.state == "success"
    assert "var:TOKEN" in outcome.log


@pytest.mark.parametrize("ending", ["a trigger that failed", "a workspace that is away"])
def test_the_links_stay_where_a_resumed_task_does_not_even_get_to_its_run(
    project: Project, page: str, ending: str
) -> None:
    airflow, task, in_another_process = FakeAirflow(), operator(project), operator(project)
    project.commit("git@github.com:team/code.git")
    links = deferred(project, task, airflow).links
    waiting = airflow.stored.deferred
    assert waiting is not None
    if ending == "a trigger that failed":  # as the scheduler resumes it then
        waiting.update(next_method="__fail__", next_kwargs={"error": "Trigger failure"})
    else:
        project.release()
        airflow.fire(Triggerer(trigger_of(airflow)).wait())
        project.workspace.rename(project.root / "away")
    outcome = airflow.run(in_another_process)
    assert outcome.state == "failed", outcome.log
    assert (set(links), outcome.links) == ({"RunFolder", "Commit"}, links)


@pytest.mark.parametrize("why", [TROUBLE, NOT_STARTED])
def test_a_trigger_that_gives_up_leaves_the_rest_to_the_worker_and_the_task_does_not_defer_again(
    project: Project, why: str
) -> None:
    airflow, task = FakeAirflow(), operator(project)
    deferred(project, task, airflow)
    run_id, _ = project.starts()[0]
    airflow.fire({"run_id": run_id, "why": why, "cursor": trigger_of(airflow).wait.cursor})
    release = threading.Timer(2.0, project.release)
    release.start()
    outcome = airflow.run(task)
    release.join()
    assert outcome.state == "success", outcome.log
    assert [start[0] for start in project.starts()] == [run_id]
    assert outcome.lines.count("done") == 1


@pytest.mark.parametrize("why", [TROUBLE, NOT_STARTED])
def test_the_time_of_a_task_goes_on_behind_a_trigger_that_gives_up(project: Project, why: str) -> None:
    airflow, task = FakeAirflow(), operator(project, execution_timeout=timedelta(hours=1))
    deferred(project, task, airflow)
    run_id, _ = project.starts()[0]
    airflow.fire({"run_id": run_id, "why": why, "cursor": trigger_of(airflow).wait.cursor})
    assert 3500 < set_until(airflow, time.time() + 1) - time.time() <= 3600
    release = threading.Timer(PATIENCE_SECONDS / 2, project.release)  # so that a task whose time starts anew ends
    release.start()
    outcome = airflow.run(task)
    release.cancel()
    assert isinstance(outcome.error, RunTimeoutError), outcome.log
    assert project.status(run_id)["reason"] == "timeout"


def test_a_run_that_ended_in_time_is_collected_however_late_its_task_goes_on(project: Project) -> None:
    airflow, task = FakeAirflow(), operator(project, execution_timeout=timedelta(hours=1))
    deferred(project, task, airflow)
    project.release()
    airflow.fire(Triggerer(trigger_of(airflow)).wait())
    set_until(airflow, time.time() - 600)
    outcome = airflow.run(task)
    assert outcome.state == "success", outcome.log
    assert "execution_timeout" not in outcome.log


def set_until(airflow: FakeAirflow, until: float) -> float:
    """Let the time of a task that goes on pass at another moment; return when it would have."""
    waiting = airflow.stored.deferred
    assert waiting is not None
    was = float(waiting["next_kwargs"]["until"])
    waiting["next_kwargs"]["until"] = until
    airflow._change(lambda stored: setattr(stored, "deferred", waiting))
    return was


def test_a_try_that_was_given_back_behind_its_trigger_waits_in_the_worker(project: Project) -> None:
    airflow, task = FakeAirflow(), operator(project)
    deferred(project, task, airflow)
    airflow.again()  # its worker was told to stop behind the trigger
    release = threading.Timer(2.0, project.release)
    release.start()
    outcome = airflow.run(task)
    release.join()
    assert outcome.state == "success", outcome.log
    assert "has waited in the triggerer before" in outcome.log
    assert len(project.starts()) == 1


def test_a_try_that_was_given_back_before_it_deferred_may_defer_yet(project: Project) -> None:
    airflow, task = FakeAirflow(), operator(project)
    airflow.again()
    deferred(project, task, airflow)
    airflow.next_try()
    airflow.again()  # the try before this one is another one
    assert airflow.run(task).state == "deferred"


def test_a_task_that_is_cleared_while_it_waits_starts_anew(project: Project) -> None:
    airflow, task = FakeAirflow(), operator(project)
    deferred(project, task, airflow)
    airflow.clear()
    project.release()
    (project.traces / "ran").rename(project.traces / "ran before")
    outcome = finish(airflow, task)
    assert outcome.state == "success", outcome.log
    assert len(project.starts()) == 1
    before = (project.traces / "ran before").read_text().split()[0]
    assert project.status(before)["status"] in ("Canceled", "Completed")


def test_a_retry_joins_the_run_that_a_lost_triggerer_watched(project: Project) -> None:
    airflow, task = FakeAirflow(retries=2), operator(project)
    deferred(project, task, airflow)
    airflow.next_try()
    project.release()
    outcome = finish(airflow, task)
    assert outcome.state == "success", outcome.log
    assert len(project.starts()) == 1
