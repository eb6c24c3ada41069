"""How many runs go on at once: ``max_runs`` of a root, first come first served."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from airflow_provider.scriptrun.supervisor import slots
from tests.supervisor.session import start_request, wait_until
from tests.supervisor.test_exactly_one import guard_and_supervisor


def waiting_script(tmp_path, name: str) -> tuple[str, ...]:
    os.mkfifo(tmp_path / name)
    body = 'echo "$1" >> "$2"; read line < "$0"; echo "-$1" >> "$2"'
    return ("sh", "-c", body, str(tmp_path / name), name, str(tmp_path / "trace"))


def places(layout) -> list[str]:
    return [name for _, _, names in os.walk(layout.slots) for name in names if "-" in name]


def test_runs_beyond_the_limit_are_queued_and_go_in_the_order_in_which_they_came(every_target, tmp_path):
    session = every_target.session()
    names = ["a", "b", "c", "d"]
    runs = {}
    for name in names:
        request = start_request(*waiting_script(tmp_path, name), max_runs=2)
        runs[name] = session.ask("start", **request)["run_id"]
        session.until(runs[name], "Running" if name in ("a", "b") else "Queued")

    for name, next_one in (("a", "c"), ("b", "d"), ("c", None), ("d", None)):
        (tmp_path / name).write_text("go\n")
        assert session.wait(runs[name])["status"] == "Completed"
        if next_one:
            wait_until(lambda: next_one in (tmp_path / "trace").read_text().split())  # noqa: B023  # called at once

    started = [line for line in (tmp_path / "trace").read_text().split() if not line.startswith("-")]
    assert started == names
    assert session.poll(runs["c"])[runs["c"]].status["phases"]["queue"] > 0


def test_there_are_never_more_runs_than_the_limit(session, tmp_path):
    body = 'echo + >> "$0"; sleep 0.02; echo - >> "$0"'
    trace = tmp_path / "trace"
    request = [start_request("sh", "-c", body, str(trace), max_runs=2) for _ in range(8)]
    runs = [session.ask("start", **item)["run_id"] for item in request]
    for run in runs:
        assert session.wait(run)["status"] == "Completed"

    level = highest = 0
    for mark in trace.read_text().split():
        level += 1 if mark == "+" else -1
        highest = max(highest, level)
    assert highest <= 2
    assert len(trace.read_text().split()) == 16


def test_a_queued_run_is_cancelled_without_ever_starting(session, target, tmp_path):
    first = session.ask("start", **start_request("sleep", "600", max_runs=1))["run_id"]
    session.until(first, "Running")
    second = session.ask("start", **start_request("sleep", "600", max_runs=1))["run_id"]
    session.until(second, "Queued")
    third = session.ask("start", **start_request("true", max_runs=1))["run_id"]
    session.until(third, "Queued")

    status = session.ask("cancel", run=second, lineage=None, reason="canceled", wait_s=20)["status"]
    session.ask("cancel", run=first, lineage=None, reason="canceled", wait_s=20)

    assert (status["status"], status["started_at"]) == ("Canceled", None)
    assert not os.path.exists(target.run(second).begun)
    assert session.wait(third)["status"] == "Completed"


def test_the_place_of_a_killed_supervisor_is_free(session, target):
    first = session.ask("start", **start_request("sleep", "600", max_runs=1))["run_id"]
    session.until(first, "Running")
    second = session.ask("start", **start_request("true", max_runs=1))["run_id"]
    session.until(second, "Queued")

    for pid in guard_and_supervisor(target, first):
        os.kill(pid, signal.SIGKILL)

    assert session.wait(second)["status"] == "Completed"
    assert wait_until(lambda: places(target.layout) == [])


def test_without_a_limit_nobody_waits(session):
    first = session.ask("start", **start_request("sleep", "600", max_runs=1))["run_id"]
    session.until(first, "Running")

    assert session.run("true")["status"] == "Completed"


@pytest.fixture
def told(monkeypatch) -> list[str]:
    """The runs that tickets of this process tell, as they do."""
    found: list[str] = []
    monkeypatch.setattr(slots.control, "tell", lambda path, message: found.append(Path(path).parent.name))
    return found


def test_a_run_that_leaves_tells_the_first_that_waits_and_nobody_who_runs(target, told):
    target.layout.make_root()
    running = [slots.Ticket(target.layout, f"runs-{number}") for number in range(4)]
    waiting = [slots.Ticket(target.layout, f"waits-{number}") for number in range(3)]
    assert [ticket.goes(4) for ticket in waiting] == [False] * 3

    running[1].close()
    assert told == ["waits-0"]

    assert [ticket.goes(4) for ticket in waiting] == [True, False, False]
    assert told == ["waits-0", "waits-1"]  # by the one that goes: another one may have left meanwhile

    for ticket in [*running, *waiting]:
        ticket.close()
    assert places(target.layout) == []


def test_of_runs_with_different_limits_the_first_of_each_is_told(target, told):
    target.layout.make_root()
    limits = [3, 3, 2, 5, 2]
    running = [slots.Ticket(target.layout, f"runs-{number}") for number in range(5)]
    waiting = [slots.Ticket(target.layout, f"waits-{number}") for number in range(5)]
    assert [ticket.goes(limit) for ticket, limit in zip(waiting, limits, strict=True)] == [False] * 5

    running[0].close()

    assert told == ["waits-0", "waits-2", "waits-3"]
    for ticket in [*running, *waiting]:
        ticket.close()


def test_who_waits_behind_others_looks_more_seldom(target):
    target.layout.make_root()
    first = slots.Ticket(target.layout, "first")
    waiting = [slots.Ticket(target.layout, f"waits-{number}") for number in range(40)]
    for ticket in waiting:
        assert not ticket.goes(1)

    pauses = [ticket.pause() for ticket in waiting]

    assert pauses[:3] == [slots.LOOK_PAUSE_S, 2 * slots.LOOK_PAUSE_S, 3 * slots.LOOK_PAUSE_S]
    assert max(pauses) == pauses[-1] == slots.LONGEST_PAUSE_S
    for ticket in [first, *waiting]:
        ticket.close()
