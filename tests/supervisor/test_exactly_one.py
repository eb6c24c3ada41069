"""Exactly one run, whoever dies and whoever races: starters, supervisors, guards, tries, clears, cancels."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
from pathlib import Path

import pytest

from tests.supervisor.session import is_alive, start_request, wait_until

pytestmark = pytest.mark.slow

STARTER_POINTS = [
    "start.locked", "start.folder", "start.files", "start.recorded", "start.alive", "start.forked",
    "start.acknowledged",
]  # fmt: skip
EARLY_POINTS = ["guard.started", "supervise.started"]
SUPERVISOR_POINTS = [
    "supervise.accepted", "supervise.prepared", "supervise.begun", "supervise.forked", "supervise.running",
    "supervise.ended",
]  # fmt: skip
APPEND = ("sh", "-c", 'echo ran >> "$0"; echo said')


def holders(target, run: str) -> list[int]:
    """Return the supervisor and guard of a run, as the kernel knows them: who has its lock open."""
    path = target.run(run).alive
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            links = [os.readlink(f"/proc/{name}/fd/{number}") for number in os.listdir(f"/proc/{name}/fd")]
            if path in links:
                found.append(int(name))
    return found


def guard_and_supervisor(target, run: str) -> tuple[int, int]:
    def find() -> tuple[int, int] | None:
        for pid in holders(target, run):
            with open(f"/proc/{pid}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
            if parent in holders(target, run):
                return parent, pid
        return None

    return wait_until(find, "guard and supervisor")


def crash(target, point: str, request: dict) -> None:
    """Send a start to a session that dies at ``point``."""
    doomed = target.session(SCRIPTRUN_CRASH_POINT=point)
    doomed.send("start", **request)
    doomed.process.wait(30)


# --- starters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", STARTER_POINTS)
def test_a_start_goes_on_where_a_killed_one_left_off(every_target, tmp_path, point):
    trace = tmp_path / "trace"
    request = start_request(*APPEND, str(trace))
    crash(every_target, point, request)
    session = every_target.session()

    answer = session.ask("start", **request)
    status = session.wait(answer["run_id"])

    assert (answer["outcome"], answer["run_id"]) == ("accepted", request["run"]["id"])
    assert status["status"] == "Completed"
    assert trace.read_text() == "ran\n"
    assert answer["joined"] is (point in ("start.forked", "start.acknowledged"))


@pytest.mark.parametrize("point", ["start.recorded", "start.alive"])
def test_a_later_try_goes_on_with_the_run_that_a_killed_starter_recorded(target, session, tmp_path, point):
    trace = tmp_path / "trace"
    first = start_request(*APPEND, str(trace), lineage="l")
    crash(target, point, first)

    answer = session.ask("start", **start_request(*APPEND, str(trace), lineage="l", try_number=2))

    assert answer["run_id"] == first["run"]["id"]
    assert not answer["joined"]
    assert session.wait(answer["run_id"])["attempt"]["try_number"] == 2
    assert trace.read_text() == "ran\n"


def test_a_run_whose_starter_died_is_not_started(target, session):
    request = start_request("true")
    crash(target, "start.recorded", request)

    assert session.poll(request["run"]["id"])[request["run"]["id"]].status["status"] == "NotStarted"


@pytest.mark.parametrize("point", EARLY_POINTS)
def test_a_supervisor_that_died_before_it_took_over_is_replaced(target, session, tmp_path, point):
    trace = tmp_path / "trace"
    request = start_request(*APPEND, str(trace))
    doomed = target.session(SCRIPTRUN_CRASH_POINT=point)

    first = doomed.ask("start", **request)
    wait_until(lambda: not holders(target, request["run"]["id"]))  # the guard, which has said so, leaves
    second = session.ask("start", **request)

    assert "ended at once" in first["error"]["message"]
    assert not second["joined"]
    assert session.wait(second["run_id"])["status"] == "Completed"
    assert trace.read_text() == "ran\n"


@pytest.mark.parametrize("count", [2, 20])
def test_starters_that_race_for_a_lineage_share_one_run(target, tmp_path, count):
    trace = tmp_path / "trace"
    sessions = [target.session() for _ in range(count)]
    requests = [start_request(*APPEND, str(trace), lineage="l") for _ in sessions]
    for session, request in zip(sessions, requests, strict=True):
        session.send("start", **request)
    answers = [session.receive() for session in sessions]

    assert {answer["outcome"] for answer in answers} == {"accepted"}
    assert len({answer["run_id"] for answer in answers}) == 1
    assert [answer["joined"] for answer in answers].count(False) == 1
    assert sessions[0].wait(answers[0]["run_id"])["status"] == "Completed"
    assert trace.read_text() == "ran\n"


@pytest.mark.crash
@pytest.mark.slow
def test_starters_killed_at_random_moments_leave_one_run(target, tmp_path):
    chance = random.Random(2)
    for number in range(20):
        trace = tmp_path / f"trace{number}"
        request = start_request(*APPEND, str(trace))
        for _ in range(3):
            point = chance.choice([*STARTER_POINTS, ""])
            doomed = target.session(SCRIPTRUN_CRASH_POINT=point)
            doomed.send("start", **request)
            killer = threading.Timer(chance.uniform(0, 0.04), doomed.kill)
            killer.start()
            killer.join()
        session = target.session()
        answer = session.ask("start", **request)
        assert answer["outcome"] == "accepted", answer
        assert session.wait(answer["run_id"])["status"] == "Completed"
        assert trace.read_text() == "ran\n"
        session.close()


# --- supervisors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", SUPERVISOR_POINTS)
def test_a_supervisor_that_dies_makes_its_run_lost_and_it_runs_at_most_once(every_target, tmp_path, point):
    trace = tmp_path / "trace"
    request = start_request(*APPEND, str(trace))
    doomed = every_target.session(SCRIPTRUN_CRASH_POINT=point)
    run = doomed.ask("start", **request)["run_id"]
    session = every_target.session()

    status = session.wait(run)
    again = session.ask("start", **request)

    assert (status["status"], status["reason"]) == ("Failed", "lost")
    assert "supervisor was killed" in status["message"]
    assert (again["run_id"], again["joined"]) == (run, True)
    assert not trace.exists() or trace.read_text() in ("", "ran\n")  # it may have died between open and write
    wait_until(lambda: not holders(every_target, run))  # the guard, which has said so, leaves


@pytest.mark.crash
@pytest.mark.slow
def test_supervisors_and_guards_killed_at_random_moments_run_the_script_at_most_once(target, tmp_path):
    chance = random.Random(3)
    verdicts = set()
    session = target.session()
    for number in range(20):
        trace = tmp_path / f"trace{number}"
        request = start_request("sh", "-c", 'echo ran >> "$0"; sleep 0.02; echo said', str(trace))
        run = session.ask("start", **request)["run_id"]
        pids = holders(target, run)
        killer = threading.Timer(chance.uniform(0, 0.12), lambda: None)
        killer.start()
        killer.join()
        for pid in chance.sample(pids, chance.randint(0, len(pids))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

        answer = session.ask("start", **request)
        status = session.wait(answer["run_id"])

        assert answer["run_id"] == run
        verdicts.add((status["status"], status["reason"]))
        written = trace.read_text() if trace.exists() else ""
        assert written in (("ran\n",) if status["status"] == "Completed" else ("", "ran\n"))
    assert verdicts <= {("Completed", None), ("Failed", "lost")}


def test_a_supervisor_that_dies_after_its_verdict_changes_nothing(target, session):
    doomed = target.session(SCRIPTRUN_CRASH_POINT="supervise.final")
    run = doomed.ask("start", **start_request("true"))["run_id"]

    assert session.wait(run)["status"] == "Completed"
    assert wait_until(lambda: not holders(target, run))
    assert session.ask("status", runs=[run])["runs"][run]["status"] == "Completed"


def test_the_script_of_a_killed_supervisor_is_dead_before_another_starts(every_target, tmp_path):
    session = every_target.session()
    pid = tmp_path / "pid"
    body = 'setsid sh -c "echo \\$\\$ > $0; exec sleep 600" & while [ ! -s "$0" ]; do :; done; echo up; wait'
    run = session.ask("start", **start_request("sh", "-c", body, str(pid), lineage="l"))["run_id"]
    wait_until(lambda: session.poll(run, run_log=0)[run].data["run.log"] == b"up\n")
    _, supervisor = guard_and_supervisor(every_target, run)

    os.kill(supervisor, signal.SIGKILL)
    answer = session.ask("start", **start_request("true", lineage="l", try_number=2))
    while answer["run_id"] == run:  # the guard is still at it: not over, so it is joined
        assert answer["joined"]
        session.wait(run)
        answer = session.ask("start", **start_request("true", lineage="l", try_number=2))

    assert not is_alive(int(pid.read_text()))
    assert answer["previous"] == [run]
    assert session.ask("status", runs=[run])["runs"][run]["reason"] == "lost"


def test_a_run_whose_supervisor_and_guard_were_both_killed_is_swept_and_lost(session, target, tmp_path):
    pid = tmp_path / "pid"
    body = 'setsid sh -c "cd /; echo \\$\\$ > $0; exec sleep 600" & while [ ! -s "$0" ]; do :; done; echo up; wait'
    run = session.ask("start", **start_request("sh", "-c", body, str(pid)))["run_id"]
    wait_until(lambda: session.poll(run, run_log=0)[run].data["run.log"] == b"up\n")
    guard, supervisor = guard_and_supervisor(target, run)

    os.kill(guard, signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    status = session.wait(run)

    assert (status["status"], status["reason"]) == ("Failed", "lost")
    assert "up" in status["last_lines"]
    assert not is_alive(int(pid.read_text()))


def test_a_guard_that_dies_alone_costs_nothing(session, target, tmp_path):
    go = tmp_path / "go"
    os.mkfifo(go)
    run = session.ask("start", **start_request("sh", "-c", 'read line < "$0"; exit 4', str(go)))["run_id"]
    session.until(run, "Running")
    guard, _ = guard_and_supervisor(target, run)

    os.kill(guard, signal.SIGKILL)
    wait_until(lambda: not is_alive(guard))
    go.write_text("go\n")

    assert session.wait(run)["exit_code"] == 4


def test_polite_signals_do_not_end_a_supervisor(session, target, tmp_path):
    go = tmp_path / "go"
    os.mkfifo(go)
    run = session.ask("start", **start_request("sh", "-c", 'echo up; read line < "$0"; exit 4', str(go)))["run_id"]
    wait_until(lambda: session.poll(run, run_log=0)[run].data["run.log"] == b"up\n")

    for pid in guard_and_supervisor(target, run):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
    go.write_text("go\n")

    assert session.wait(run)["exit_code"] == 4


def test_a_run_outlives_the_session_that_started_it(target, tmp_path):
    go = tmp_path / "go"
    os.mkfifo(go)
    first = target.session()
    run = first.ask("start", **start_request("sh", "-c", 'read line < "$0"; echo done', str(go)))["run_id"]
    os.killpg(first.process.pid, signal.SIGKILL)
    first.process.wait()
    go.write_text("go\n")
    second = target.session()

    assert second.wait(run)["status"] == "Completed"
    assert second.poll(run, run_log=0)[run].data["run.log"] == b"done\n"


def test_a_session_ends_while_its_run_goes_on(target, tmp_path):
    go = tmp_path / "go"
    os.mkfifo(go)
    first = target.session()
    run = first.ask("start", **start_request("sh", "-c", 'read line < "$0"', str(go)))["run_id"]

    first.process.stdin.close()

    assert first.process.wait(30) == 0
    assert first.process.stdout.read() == b""  # nobody of the run holds it open
    go.write_text("go\n")
    assert target.session().wait(run)["status"] == "Completed"


# --- other boots, other machines ------------------------------------------------------------------------------------


def forge(target, run: str, **host: str) -> None:
    """Let the run's status say that it goes on, on another boot or machine, and forget that it has ended."""
    wait_until(lambda: not holders(target, run))  # until then it is seen to go on here, whatever its status says
    path = Path(target.run(run).status)
    document = json.loads(path.read_text())
    document.update(status="Running", reason=None, ended_at=None)
    document["host"].update(host)
    path.write_text(json.dumps(document))


def test_a_run_of_an_earlier_boot_is_lost_and_the_message_says_so(session, target):
    run = session.run("true")["run"]
    forge(target, run, boot_id="another")

    status = session.wait(run)

    assert (status["status"], status["reason"]) == ("Failed", "lost")
    assert "restarted" in status["message"]


def test_a_run_of_another_machine_is_never_lost(session, target):
    run = session.run("true", lineage="l")["run"]
    forge(target, run, id="another", name="elsewhere")

    polled = session.poll(run)[run]
    started = session.ask("start", **start_request("true", lineage="l", try_number=2))

    assert polled["error"]["code"] == started["error"]["code"] == "not_here"
    assert "elsewhere" in polled["error"]["message"]
    assert json.loads(Path(target.run(run).status).read_text())["status"] == "Running"


# --- tries, clears, cancels -----------------------------------------------------------------------------------------


def test_the_next_try_joins_a_run_that_goes_on(session, tmp_path):
    first = session.ask("start", **start_request("sleep", "600", lineage="l"))
    second = session.ask("start", **start_request("sleep", "600", lineage="l", try_number=2))

    assert (second["run_id"], second["joined"]) == (first["run_id"], True)


def test_an_older_try_is_superseded_and_touches_nothing(session):
    first = session.ask("start", **start_request("sleep", "600", lineage="l"))
    session.ask("start", **start_request("sleep", "600", lineage="l", try_number=2))

    answer = session.ask("start", **start_request("sleep", "600", lineage="l", try_number=1, max_tries=9))

    assert answer == {"outcome": "superseded", "run_id": first["run_id"], "try_number": 2}
    assert session.until(first["run_id"], "Running")


def test_a_completed_run_is_joined_by_every_later_try(session, tmp_path):
    trace = tmp_path / "trace"
    first = session.run(*APPEND, str(trace), lineage="l")

    answer = session.ask("start", **start_request(*APPEND, str(trace), lineage="l", try_number=4))

    assert (answer["run_id"], answer["joined"], answer["status"]["status"]) == (first["run"], True, "Completed")
    assert trace.read_text() == "ran\n"


def test_a_failed_run_is_told_to_its_own_try_and_replaced_by_the_next(session):
    first = session.run("false", lineage="l")

    same = session.ask("start", **start_request("true", lineage="l"))
    later = session.ask("start", **start_request("true", lineage="l", try_number=2))

    assert (same["run_id"], same["joined"], same["previous"]) == (first["run"], True, [])
    assert (later["joined"], later["previous"]) == (False, [first["run"]])
    assert session.wait(later["run_id"])["status"] == "Completed"
    assert session.ask("status", lineage="l")["runs"].keys() == {first["run"], later["run_id"]}


@pytest.mark.parametrize("clearing", [{"max_tries": 9}, {"clear_number": 1, "delivered": True}])
def test_a_cleared_task_ends_its_run_before_it_starts_another(session, tmp_path, clearing):
    pid = tmp_path / "pid"
    body = 'trap "sleep 0.2; exit 0" TERM; echo $$ > "$0"; echo up; while :; do sleep 0.01; done'
    first = session.ask("start", **start_request("sh", "-c", body, str(pid), lineage="l"))["run_id"]
    wait_until(lambda: session.poll(first, run_log=0)[first].data["run.log"] == b"up\n")

    second = session.ask("start", **start_request("true", lineage="l", try_number=2, **clearing))

    status = session.ask("status", runs=[first])["runs"][first]
    assert (status["status"], status["reason"]) == ("Canceled", "superseded")
    assert status["ended_at"] <= second["status"]["created_at"]
    assert not is_alive(int(pid.read_text()))
    assert (second["joined"], second["previous"]) == (False, [first])


def test_a_cleared_task_does_not_reuse_a_completed_run(session):
    first = session.run("true", lineage="l")

    second = session.ask("start", **start_request("true", lineage="l", try_number=2, max_tries=9))

    assert second["run_id"] != first["run"]
    assert not second["joined"]


def test_a_joined_run_that_was_delivered_is_not_taken_for_cleared(session):
    first = session.run("true", lineage="l")
    session.ask("start", **start_request("true", lineage="l", try_number=2, clear_number=1))

    third = session.ask("start", **start_request("true", lineage="l", try_number=3, clear_number=1, delivered=True))

    assert (third["run_id"], third["joined"]) == (first["run"], True)


def test_a_cancel_that_comes_before_its_start_wins(session, target, tmp_path):
    trace = tmp_path / "trace"
    request = start_request(*APPEND, str(trace), lineage="l")
    run = request["run"]["id"]

    cancelled = session.ask("cancel", run=run, lineage="l", reason="canceled", wait_s=20)
    started = session.ask("start", **request)

    assert cancelled["status"]["status"] == "Canceled"
    assert started == {"outcome": "canceled", "run_id": run}
    assert session.poll(run)[run].status["status"] == "Canceled"
    assert not trace.exists()


def test_a_cancelled_start_does_not_keep_a_later_try_from_starting(session):
    request = start_request("true", lineage="l")
    session.ask("cancel", run=request["run"]["id"], lineage="l", reason="canceled", wait_s=20)
    session.ask("start", **request)

    answer = session.ask("start", **start_request("true", lineage="l", try_number=2))

    assert answer["outcome"] == "accepted"
    assert session.wait(answer["run_id"])["status"] == "Completed"


@pytest.mark.parametrize("point", ["start.recorded", "start.alive"])
def test_a_run_whose_starter_died_can_be_cancelled(target, session, point):
    request = start_request("true")
    crash(target, point, request)

    cancelled = session.ask("cancel", run=request["run"]["id"], lineage=None, reason="canceled", wait_s=20)

    assert cancelled["status"]["status"] == "Canceled"
    assert session.ask("start", **request)["outcome"] == "canceled"


def test_a_try_that_joined_can_cancel_by_the_id_that_it_proposed(session):
    first = session.ask("start", **start_request("sleep", "600", lineage="l"))["run_id"]
    request = start_request("sleep", "600", lineage="l", try_number=2)
    session.ask("start", **request)

    answer = session.ask("cancel", run=request["run"]["id"], lineage="l", reason="canceled", wait_s=20)

    assert (answer["run"], answer["status"]["status"]) == (first, "Canceled")


def test_a_start_and_a_cancel_that_race_leave_nothing_running(target):
    for _ in range(10):
        request = start_request("sleep", "600")
        run = request["run"]["id"]
        starter, canceller = target.session(), target.session()
        starter.send("start", **request)
        canceller.send("cancel", run=run, lineage=None, reason="canceled", wait_s=20)
        started, cancelled = starter.receive(), canceller.receive()

        assert cancelled["status"]["status"] == "Canceled"
        assert started.get("outcome") in ("accepted", "canceled"), started
        assert canceller.ask("status", runs=[run])["runs"][run]["status"] == "Canceled"
        assert not holders(target, run) or wait_until(lambda: not holders(target, run))  # noqa: B023
        starter.close()
        canceller.close()


def test_an_id_that_was_used_is_refused(session):
    run = session.run("true")["run"]

    answer = session.ask("start", **start_request("true", run_id=run))

    assert answer["error"]["code"] == "bad_request"
    assert "Completed" in answer["error"]["message"]


def test_the_folder_for_checkpoints_stays_the_same_for_a_lineage(session):
    program = ("sh", "-c", 'cat "$SCRIPTRUN_CHECKPOINTS/step"; echo 1 > "$SCRIPTRUN_CHECKPOINTS/step"; false')
    first = session.run(*program, lineage="l")
    second = session.run(*program, lineage="l", try_number=2)

    assert b"No such file" in first["log"]
    assert second["log"] == b"1\n"
