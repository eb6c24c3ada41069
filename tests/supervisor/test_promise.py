"""Who watches a run whose image is still being made is told that it is Preparing, and once nobody makes it any more."""

from __future__ import annotations

import os
from typing import Any

import pytest

from airflow_provider.scriptrun.supervisor import flock, promise
from tests.supervisor.session import Session, Target, start_request

RUN = "run-1"


def prepare(session: Session, **fields: Any) -> dict[str, Any]:
    """Ask for a run that is to begin in a container."""
    request = start_request("true", run_id=RUN, lineage="a task", **fields)
    request["launch"]["contained"] = True
    return session.ask("start", **request)


def status_of(session: Session) -> tuple[str, str]:
    """What ``status`` and ``poll`` say."""
    return session.ask("status", runs=[RUN])["runs"][RUN]["status"], session.poll(RUN)[RUN].status["status"]


def watch(watcher: Session) -> None:
    """Let it wait for what is said of the run next; ``news`` is that."""
    seen = watcher.poll(RUN)[RUN].status["serial"]
    watcher.send("poll", runs=[{"id": RUN, "seen": seen, "streams": {}}], wait_s=600, max_bytes=1)


def test_a_run_that_a_worker_is_about_to_begin_is_preparing_to_whoever_watches(target: Target) -> None:
    worker, watcher = target.session(), target.session()
    assert prepare(worker)["outcome"] == "prepared"
    assert status_of(watcher) == ("Preparing", "Preparing")
    assert status_of(worker) == ("Preparing", "Preparing")


def test_a_run_whose_worker_died_before_it_began_has_not_started_as_its_watcher_hears_at_once(target: Target) -> None:
    worker, watcher = target.session(), target.session()
    prepare(worker)
    watch(watcher)
    worker.kill()
    assert watcher.news()[RUN].status["status"] == "NotStarted"


def test_a_worker_that_gives_up_is_heard_too(target: Target) -> None:
    worker, watcher = target.session(), target.session()
    prepare(worker)
    watch(watcher)
    assert worker.ask("leave_run", run=RUN)["status"]["status"] == "NotStarted"
    assert watcher.news()[RUN].status["status"] == "NotStarted"


def test_the_verdict_of_a_run_whose_image_cannot_be_made_is_heard_behind_its_preparing(target: Target) -> None:
    worker, watcher = target.session(), target.session()
    prepare(worker)
    watch(watcher)
    worker.ask("conclude", run=RUN, error={"reason": "environment", "message": "no such package"})
    # the lock of the run's life, which the verdict is written under, may be seen on the way
    assert watcher.news()[RUN].status["status"] in ("Starting", "Failed")
    assert watcher.wait(RUN)["status"] == "Failed"
    assert worker.ask("leave_run", run=RUN)["status"]["message"] == "no such package"


def test_a_cancel_of_a_run_whose_image_is_being_made_is_heard_by_its_watcher_and_its_worker(target: Target) -> None:
    worker, watcher = target.session(), target.session()
    prepare(worker)
    seen = watcher.poll(RUN)[RUN].status["serial"]
    assert watcher.ask("cancel", run=RUN, lineage="a task")["status"]["status"] == "Canceled"
    assert watcher.poll(RUN, seen=seen)[RUN].status["status"] == "Canceled"
    assert status_of(worker) == ("Canceled", "Canceled")


def test_a_promise_decides_nothing_the_next_try_prepares_the_same_run_beside_a_worker_that_hangs(
    target: Target,
) -> None:
    hanging, worker, watcher = target.session(), target.session(), target.session()
    prepare(hanging)
    answer = prepare(worker, try_number=2)
    assert (answer["outcome"], answer["run_id"]) == ("prepared", RUN)
    hanging.kill()
    assert status_of(watcher) == ("Preparing", "Preparing")
    worker.ask("leave_run", run=RUN)
    assert status_of(watcher) == ("NotStarted", "NotStarted")


def test_who_asks_whether_there_is_a_promise_is_not_taken_for_one(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seam is the pause before the second look: the other one who asks lets go there, and not in microseconds."""
    worker = target.session()
    prepare(worker)
    worker.ask("leave_run", run=RUN)
    asking = flock.take_existing(target.run(RUN).promised)
    assert asking is not None
    monkeypatch.setattr(promise.time, "sleep", lambda _: os.close(asking))
    assert promise.look(target.layout, RUN)["status"] == "NotStarted"
    with pytest.raises(OSError, match="Bad file descriptor"):  # it was looked at twice
        os.fstat(asking)


def test_a_run_that_nobody_knows_is_left_without_a_word(target: Target) -> None:
    session = target.session()
    session.ask("hello")
    assert session.ask("leave_run", run="nobody")["status"] is None
    assert session.ask("leave_run", run="../up")["error"]["code"] == "bad_request"
