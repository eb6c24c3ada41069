"""The cleaner and real runs: what a start, a poll and a list say about a run of which something went."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.supervisor.session import Session, Target, start_request, wait_until

DAY = 86400.0
WRITE = "echo once >> ../../count; echo a log; echo model > outputs/model"


def finish(session: Session, target: Target, request: dict) -> str:
    run = session.ask("start", **request)["run_id"]
    assert session.wait(run)["status"] == "Completed"
    wait_until(lambda: not target.processes())
    return run


def grow_old(target: Target, run_id: str, seconds: float) -> None:
    run = target.run(run_id)
    then = time.time() - seconds
    for path in (run.status, run.lease, run.collected):
        if os.path.exists(path):
            os.utime(path, (then, then))


def clean(session: Session, budget: int | None = None, age: float | None = None) -> dict[str, int]:
    answer = session.ask("clean", budget_bytes=budget, budget_age_s=age)
    assert not answer["busy"]
    return answer["removed"]


def test_a_late_try_of_a_collected_run_still_hears_that_it_completed(session: Session, target: Target) -> None:
    request = start_request("/bin/sh", "-c", WRITE)
    run = finish(session, target, request)
    session.send("fetch", run=run, paths=[], collected=True)
    assert session.receive() == {"end": True}
    grow_old(target, run, 2 * DAY)
    assert clean(session, budget=0)["runs"] == 1
    assert not os.path.exists(target.run(run).code)

    request["attempt"]["try_number"] = 2
    answer = session.ask("start", **request)
    assert (answer["outcome"], answer["joined"], answer["status"]["status"]) == ("accepted", True, "Completed")
    assert session.ask("list", run=run)["files"] == []
    part = session.poll(run, run_log=0)[run]
    assert part.status["status"] == "Completed"
    assert Path(target.layout.runs, "count").read_text() == "once\n"


def test_a_start_that_is_repeated_after_its_run_was_removed_starts_nothing(session: Session, target: Target) -> None:
    request = start_request("/bin/sh", "-c", WRITE)
    run = finish(session, target, request)
    grow_old(target, run, 2 * DAY)
    assert clean(session, age=DAY)["runs"] == 1
    assert not os.path.exists(target.run(run).folder)
    assert session.ask("start", **request)["error"]["code"] == "no_such_run"
    assert session.ask("list", run=run)["error"]["code"] == "no_such_run"
    assert Path(target.layout.runs, "count").read_text() == "once\n"


def test_results_that_nobody_collected_survive_any_budget(session: Session, target: Target) -> None:
    run = finish(session, target, start_request("/bin/sh", "-c", WRITE))
    grow_old(target, run, 2 * DAY)
    clean(session, budget=0)
    assert {file["path"] for file in session.ask("list", run=run)["files"]} >= {"outputs/model", "run.log"}


def test_a_run_that_lives_is_untouched_however_old_it_looks(session: Session, target: Target) -> None:
    run = session.ask("start", **start_request("/bin/sh", "-c", "echo up; exec sleep 600"))["run_id"]
    session.until(run, "Running")
    grow_old(target, run, 30 * DAY)
    assert clean(session, budget=0, age=0)["runs"] == 0
    assert os.path.isdir(target.run(run).code)
    assert session.ask("cancel", run=run, lineage=None, reason="canceled", wait_s=30)["status"]["status"] == "Canceled"
