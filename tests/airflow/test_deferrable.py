"""A run that takes long is waited for in the triggerer: once per try, live, and without giving anything up."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk._shared import secrets_masker
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_provider.scriptrun import (
    RunTimeoutError,
    ScriptFailedError,
    ScriptRunConfig,
    ScriptRunOperator,
)
from airflow_provider.scriptrun.errors import TargetUnreachableError
from airflow_provider.scriptrun.runs.host_watches import shared
from airflow_provider.scriptrun.runs.run_view import RunView
from airflow_provider.scriptrun.targets.host import HostTarget
from airflow_provider.scriptrun.triggers import allowance, wait
from airflow_provider.scriptrun.triggers.run_over import ScriptRunTrigger
from airflow_provider.scriptrun.triggers.wait import DEADLINE, NOT_STARTED, OVER, TROUBLE
from tests.airflow.harness import RUN_ID, FakeAirflow, Outcome
from tests.airflow.project import SCRIPT, Project, until
from tests.airflow.triggerer import PATIENCE_SECONDS, Triggerer, trigger_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("defers_at_once")]

WHOLE_LOG = b"line 0\nline 1\nline 2\ndone\n"


def operator(project: Project, script: str = SCRIPT, **options: Any) -> ScriptRunOperator:
    project.write_dag(script=script)
    with DAG("dag") as dag:
        made = ScriptRunOperator(
            task_id="train",
            config=ScriptRunConfig("code", "train.py", [str(project.traces)], **options.pop("config", {})),
            deferrable=options.pop("deferrable", True),
            **options,
        )
    dag.fileloc = str(project.dags / "dag.py")
    return made


def deferred(project: Project, task: ScriptRunOperator, airflow: FakeAirflow) -> Outcome:
    """Run a try whose script waits, up to where it defers."""
    project.hold()
    outcome = airflow.run(task)
    assert airflow.stored.state == "deferred", outcome.log
    until(project.starts, "the script's start")
    return outcome


def finish(airflow: FakeAirflow, task: ScriptRunOperator) -> Outcome:
    """Run a try to its end, through the triggerer where it defers."""
    outcome = airflow.run(task)
    if airflow.stored.state == "deferred":
        airflow.fire(Triggerer(trigger_of(airflow)).wait())
        outcome = airflow.run(task)
    return outcome


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


def test_what_airflow_keeps_of_a_trigger_holds_no_secret_and_the_triggerer_masks_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_TOKEN", "hunter2-hunter2")
    airflow = FakeAirflow(variables={"TOKEN": "hunter2-hunter2"})
    task = operator(project, config={"secret_variables": {"TOKEN": "var:TOKEN"}})
    deferred(project, task, airflow)
    assert "hunter2" not in json.dumps(airflow.stored.deferred)
    secrets_masker.reset_secrets_masker()  # as the masker of another process is
    triggerer = Triggerer(trigger_of(airflow))
    project.release()
    assert triggerer.wait()["why"] == OVER
    assert secrets_masker.redact("it is hunter2-hunter2") == "it is ***"


def test_a_task_that_goes_on_in_another_process_hides_the_secret_that_its_script_prints(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_TOKEN", "hunter2-hunter2")
    airflow = FakeAirflow(variables={"TOKEN": "hunter2-hunter2"})
    task = operator(project, config={"secret_variables": {"TOKEN": "var:TOKEN"}})
    deferred(project, task, airflow)
    project.release()
    airflow.fire(Triggerer(trigger_of(airflow)).wait())
    secrets_masker.reset_secrets_masker()  # as the masker of another process is
    assert airflow.run(task).state == "success"
    assert secrets_masker.redact("it is hunter2-hunter2") == "it is ***"


def test_a_secret_that_is_gone_when_a_task_goes_on_costs_no_result(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_TOKEN", "hunter2-hunter2")
    airflow = FakeAirflow()
    task = operator(project, config={"secret_variables": {"TOKEN": "var:TOKEN"}})
    deferred(project, task, airflow)
    project.release()
    airflow.fire(Triggerer(trigger_of(airflow)).wait())
    monkeypatch.delenv("AIRFLOW_VAR_TOKEN")
    outcome = airflow.run(task)
    assert outcome.state == "success"
    assert "var:TOKEN" in outcome.log


def test_the_log_goes_on_where_the_triggerer_stopped_that_was_restarted(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider.scriptrun.runs.run_view.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("airflow_provider.scriptrun.triggers.run_over.LOOK_SECONDS", 0.05)
    airflow, task = FakeAirflow(), operator(project)
    first_lines = deferred(project, task, airflow).lines
    first = Triggerer(trigger_of(airflow))
    until(lambda: "line 2" in first.lines + first_lines, "the log in the triggerer")
    until(lambda: list(project.workspace.glob("**/watched.json")) or "line 2" in first_lines, "word of how far it is")
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


def test_its_time_passes_while_airflow_answers_slowly_and_nothing_that_watches_is_left(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow, task = FakeAirflow(), operator(project, execution_timeout=timedelta(seconds=5))
    deferred(project, task, airflow)
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
    task, in_another_process = (operator(project, execution_timeout=timedelta(seconds=5)) for _ in range(2))
    project.commit("git@github.com:team/code.git")
    links = deferred(project, task, airflow).links
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
