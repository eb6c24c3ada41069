"""A run that takes long is waited for in the triggerer: once per try, live, and without giving anything up."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk._shared import secrets_masker
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_provider.scriptrun import (
    RunTimeoutError,
)
from airflow_provider.scriptrun.errors import TargetUnreachableError
from airflow_provider.scriptrun.runs.host_watches import shared
from airflow_provider.scriptrun.runs.run_view import RunView
from airflow_provider.scriptrun.targets.host import HostTarget
from airflow_provider.scriptrun.triggers import allowance, wait
from airflow_provider.scriptrun.triggers.run_over import ScriptRunTrigger
from airflow_provider.scriptrun.triggers.wait import DEADLINE, OVER, TROUBLE
from tests.airflow.deferring import deferred, operator, with_secret
from tests.airflow.harness import RUN_ID, FakeAirflow
from tests.airflow.project import SCRIPT, Project, until
from tests.airflow.triggerer import PATIENCE_SECONDS, Triggerer, trigger_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("defers_at_once")]

WHOLE_LOG = b"line 0\nline 1\nline 2\ndone\n"


def test_a_short_run_never_defers(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__SCRIPTRUN__DEFER_AFTER_SECONDS", "30")
    airflow = FakeAirflow()
    outcome = airflow.run(operator(project))
    assert outcome.state == "success", outcome.log
    assert airflow.stored.deferred is None


def test_no_trigger_fires_before_the_scheduler_can_know_that_its_task_deferred(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait, "SETTLE_SECONDS", 3.0)
    airflow, task = FakeAirflow(), operator(project)
    deferred(project, task, airflow)
    project.release()
    trigger = trigger_of(airflow)
    Triggerer(trigger).wait()
    assert time.time() >= trigger.wait.not_before


def test_a_long_run_is_waited_for_in_the_triggerer_and_runs_once(project: Project) -> None:
    airflow, task = FakeAirflow(), operator(project)
    first_lines = deferred(project, task, airflow).lines
    triggerer = Triggerer(trigger_of(airflow))
    until(lambda: "line 2" in first_lines + triggerer.lines, "the log in the triggerer")
    project.release()
    event = triggerer.wait()
    assert event["why"] == OVER
    airflow.fire(event)
    outcome = airflow.run(task)
    assert outcome.state == "success", outcome.log
    assert outcome.record["status"] == "Completed"
    assert len(project.starts()) == 1
    assert project.run_log(outcome.record["run_id"]) == WHOLE_LOG
    shown = first_lines + triggerer.lines + outcome.lines
    assert [shown.count(line) for line in ("line 2", "done")] == [1, 1], "neither left out nor shown again"


def test_what_airflow_keeps_of_a_trigger_holds_no_secret_and_the_triggerer_masks_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow, _ = with_secret(project, monkeypatch)
    assert "hunter2" not in json.dumps(airflow.stored.deferred)
    secrets_masker.reset_secrets_masker()  # as the masker of another process is
    triggerer = Triggerer(trigger_of(airflow))
    project.release()
    assert triggerer.wait()["why"] == OVER
    assert secrets_masker.redact("it is hunter2-hunter2") == "it is ***"


def test_the_log_goes_on_where_the_triggerer_stopped_that_was_restarted(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider.scriptrun.runs.run_view.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("airflow_provider.scriptrun.triggers.run_over.LOOK_SECONDS", 0.05)
    airflow, task = FakeAirflow(), operator(project)
    first_lines = deferred(project, task, airflow).lines
    first = Triggerer(trigger_of(airflow))
    until(lambda: "line 2" in first.lines + first_lines, "the log in the triggerer")

    def is_stored() -> bool:
        left = [json.loads(path.read_text()) for path in project.workspace.glob("**/watched.json")]
        return any(one["offsets"]["run.log"] >= len("line 0\nline 1\nline 2\n") for one in left)

    until(lambda: is_stored() or "line 2" in first_lines, "word of how far it is")
    first.stop()
    second = Triggerer(trigger_of(airflow))
    project.release()
    event = second.wait()
    assert event["why"] == OVER
    airflow.fire(event)
    shown = first_lines + first.lines + second.lines + airflow.run(task).lines
    assert [shown.count(line) for line in ("line 0", "line 1", "line 2", "done")] == [1, 1, 1, 1]
    assert len(project.starts()) == 1


@pytest.mark.parametrize("state", ["failed", "success", None])
def test_a_person_who_ends_the_task_ends_its_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    airflow, task = FakeAirflow(), operator(project)
    deferred(project, task, airflow)
    trigger = trigger_of(airflow)
    answer = {RUN_ID: {"train": state}} if state else {}
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(lambda **_: answer))
    asyncio.run(trigger.on_kill())
    run_id, _ = project.starts()[0]
    until(lambda: project.status(run_id)["status"] == "Canceled", "the run's end")


def test_a_run_is_cancelled_even_where_airflow_gives_up_waiting_for_that(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow, task = FakeAirflow(), operator(project)
    deferred(project, task, airflow)
    trigger = trigger_of(airflow)
    asked, answers = threading.Event(), threading.Event()

    def slow(**_: Any) -> dict[str, dict[str, str]]:
        asked.set()
        assert answers.wait(60)
        return {RUN_ID: {"train": "failed"}}

    async def give_up() -> None:
        kill = asyncio.create_task(trigger.on_kill())
        await asyncio.to_thread(asked.wait, 60)
        kill.cancel()
        with pytest.raises(asyncio.CancelledError):
            await kill
        answers.set()

    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(slow))
    asyncio.run(give_up())
    run_id, _ = project.starts()[0]
    until(lambda: project.status(run_id)["status"] == "Canceled", "the run's end")


@pytest.mark.parametrize("state", ["deferred", "running", "queued", "scheduled", "up_for_retry"])
def test_a_trigger_that_airflow_moved_leaves_the_run_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    airflow, task = FakeAirflow(), operator(project)
    deferred(project, task, airflow)
    trigger = trigger_of(airflow)
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(lambda **_: {RUN_ID: {"train": state}}))
    asyncio.run(trigger.on_kill())
    triggerer = Triggerer(trigger_of(airflow))
    project.release()
    event = triggerer.wait()
    airflow.fire(event)
    assert airflow.run(task).state == "success"


def passes_soon(airflow: FakeAirflow) -> None:
    """Let the time of a task that waits in the triggerer pass in a moment."""
    waiting = airflow.stored.deferred
    assert waiting is not None
    waiting["trigger_kwargs"]["wait"]["deadline"] = time.time() + 3.0


def test_its_time_passes_while_airflow_answers_slowly_and_nothing_that_watches_is_left(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow, task = FakeAirflow(), operator(project, execution_timeout=timedelta(hours=1))
    deferred(project, task, airflow)
    passes_soon(airflow)
    has_answered = threading.Event()
    open_view = ScriptRunTrigger._open_view

    def open_slowly(trigger: ScriptRunTrigger) -> RunView:
        has_answered.wait(PATIENCE_SECONDS)
        return open_view(trigger)

    monkeypatch.setattr(ScriptRunTrigger, "_open_view", open_slowly)
    trigger = trigger_of(airflow)
    assert Triggerer(trigger).wait()["why"] == DEADLINE
    has_answered.set()
    until(lambda: trigger._subscription, "the late beginning to follow")
    until(lambda: not any(watch._subscriptions for watch in shared._watches.values()), "its end")


def test_its_time_passes_in_the_triggerer_too(project: Project, page: str) -> None:
    airflow = FakeAirflow()
    task, in_another_process = (operator(project, execution_timeout=timedelta(hours=1)) for _ in range(2))
    project.commit("git@github.com:team/code.git")
    links = deferred(project, task, airflow).links
    passes_soon(airflow)
    event = Triggerer(trigger_of(airflow)).wait()
    assert event["why"] == DEADLINE
    airflow.fire(event)
    outcome = airflow.run(in_another_process)
    assert isinstance(outcome.error, RunTimeoutError), outcome.log
    run_id, _ = project.starts()[0]
    assert project.status(run_id)["reason"] == "timeout"
    assert project.run_log(run_id) == b"line 0\nline 1\nline 2\n", "what it left is collected"
    assert (set(links), outcome.links) == ({"RunFolder", "Commit"}, links)


def test_the_links_are_there_while_a_deferred_script_runs(project: Project, page: str) -> None:
    airflow, task = FakeAirflow(), operator(project)
    commit = project.commit("git@github.com:team/code.git")
    links = deferred(project, task, airflow).links
    run_id, _ = project.starts()[0]
    assert links["RunFolder"] == f"{page}/experiments/dag/{run_id}/"
    assert links["Commit"] == f"https://github.com/team/code/commit/{commit}"


def unreachable(*_: Any, **__: Any) -> Any:
    raise TargetUnreachableError("nothing answers there")


def test_a_target_that_the_triggerer_cannot_reach_is_left_to_the_worker_that_could(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow, task = FakeAirflow(), operator(project)
    deferred(project, task, airflow)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("airflow_provider.scriptrun.triggers.run_over.UNREACHED_SECONDS", 1.0)
        elsewhere.setattr(HostTarget, "poll", unreachable)
        triggerer = Triggerer(trigger_of(airflow))
        assert triggerer.wait()["why"] == TROUBLE
    assert any("has never answered this triggerer" in line for line in triggerer.lines)
    project.release()
    airflow.fire(triggerer.event)
    outcome = airflow.run(task)
    assert outcome.state == "success", outcome.log
    assert len(project.starts()) == 1


def test_a_target_that_the_triggerer_has_reached_is_waited_for_there_however_long_it_is_away(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider.scriptrun.triggers.run_over.UNREACHED_SECONDS", 0.0)
    airflow, task = FakeAirflow(), operator(project)
    deferred(project, task, airflow)
    triggerer = Triggerer(trigger_of(airflow))
    watch = until(lambda: next((one for one in shared._watches.values() if one._subscriptions), None), "its watch")
    until(lambda: all(subscription.has_answered for subscription in watch._subscriptions), "an answer")
    with monkeypatch.context() as away:
        away.setattr(watch._target, "poll", unreachable)
        watch._wake.ring()
        until(lambda: sum("nothing answers there" in line for line in triggerer.lines) >= 2, "the second try")
    project.release()
    assert triggerer.wait()["why"] == OVER


def test_a_watch_that_fails_ends_the_trigger_and_neither_the_run_nor_the_task(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow, task = FakeAirflow(), operator(project)
    deferred(project, task, airflow)
    triggerer = Triggerer(trigger_of(airflow))
    watch = until(lambda: next((one for one in shared._watches.values() if one._subscriptions), None), "its watch")
    monkeypatch.setattr(watch._target, "poll", lambda *_, **__: 1 / 0)
    watch._wake.ring()
    event = triggerer.wait()
    assert event["why"] == TROUBLE
    assert any("ZeroDivisionError" in line for line in triggerer.lines)
    project.release()
    airflow.fire(event)
    outcome = airflow.run(task)
    assert outcome.state == "success", outcome.log
    assert len(project.starts()) == 1


def test_the_worker_waits_for_a_run_on_its_own_host(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__SCRIPTRUN__TRIGGERER_SHARES_HOST", "False")
    airflow = FakeAirflow()
    outcome = airflow.run(operator(project))
    assert (outcome.state, airflow.stored.deferred) == ("success", None), outcome.log
    assert "triggerer_shares_host" in outcome.log


def test_deferrable_by_default_is_airflows_own_setting(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert operator(project, deferrable=None).deferrable is False
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert operator(project, deferrable=None).deferrable is True


def test_a_trigger_of_a_later_release_still_loads() -> None:
    wait = {"handle": {"run_id": "r"}, "cursor": {}, "workspace": "/w", "folder": "f", "log_uri": "l", "new": 1}
    trigger = ScriptRunTrigger(wait)
    _, kwargs = trigger.serialize()
    assert ScriptRunTrigger(**kwargs).wait == trigger.wait
    assert "new" not in kwargs["wait"]


#: Prints much once it may, and waits then.
LOUD_SCRIPT = SCRIPT.replace(
    "for number in range(3):",
    'while not (traces / "speak").exists():\n    time.sleep(0.01)\nfor number in range(20_000):',
)
LOUD_LINES = [f"line {number}" for number in range(20_000)]


def test_a_script_that_prints_more_than_a_triggerer_shows_loses_no_line_and_its_end_is_known_at_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allowance, "shared", allowance.Allowance(lambda: 0.0))  # what there is, and nothing more
    monkeypatch.setattr("airflow_provider.scriptrun.triggers.run_over.CATCH_UP_SECONDS", 0.1)
    airflow, task = FakeAirflow(), operator(project, script=LOUD_SCRIPT)
    before = deferred(project, task, airflow).lines
    triggerer = Triggerer(trigger_of(airflow))
    (project.traces / "speak").touch()
    until(lambda: "line 0" in triggerer.lines, "the first lines in the triggerer")
    project.release()
    event = triggerer.wait()
    assert event["why"] == OVER
    assert "line 19999" not in triggerer.lines
    airflow.fire(event)
    shown = before + triggerer.lines + airflow.run(task).lines
    assert [line for line in shown if line.startswith("line ")] == LOUD_LINES


def test_a_script_that_printed_much_is_shown_in_the_triggerer_up_to_its_last_line(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allowance, "BYTES_PER_SECOND", 10_000_000)
    monkeypatch.setattr(allowance, "shared", allowance.Allowance())
    monkeypatch.setattr("airflow_provider.scriptrun.triggers.run_over.CATCH_UP_SECONDS", 0.05)
    airflow, task = FakeAirflow(), operator(project, script=LOUD_SCRIPT)
    before = deferred(project, task, airflow).lines
    triggerer = Triggerer(trigger_of(airflow))
    (project.traces / "speak").touch()
    until(lambda: "line 19999" in triggerer.lines, "the last line in the triggerer")
    assert [line for line in before + triggerer.lines if line.startswith("line ")] == LOUD_LINES
    project.release()
    airflow.fire(triggerer.wait())
    assert (triggerer.lines + airflow.run(task).lines).count("done") == 1
