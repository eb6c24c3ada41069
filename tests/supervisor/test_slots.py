"""How many runs go on at once: ``max_runs`` of a root, first come first served."""

from __future__ import annotations

import os
import signal

from tests.supervisor.session import start_request, wait_until
from tests.supervisor.test_exactly_one import guard_and_supervisor


def waiting_script(tmp_path, name: str) -> tuple[str, ...]:
    os.mkfifo(tmp_path / name)
    body = 'echo "$1" >> "$2"; read line < "$0"; echo "-$1" >> "$2"'
    return ("sh", "-c", body, str(tmp_path / name), name, str(tmp_path / "trace"))


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
    assert wait_until(lambda: [name for name in os.listdir(target.layout.slots) if "-" in name] == [])


def test_without_a_limit_nobody_waits(session):
    first = session.ask("start", **start_request("sleep", "600", max_runs=1))["run_id"]
    session.until(first, "Running")

    assert session.run("true")["status"] == "Completed"
