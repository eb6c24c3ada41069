"""The end of a run is known: exit code or signal, and why."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets.contract import Limits
from tests.conformance.client import GRACE_S, user_managed


def test_a_script_that_ends_well_is_completed(client):
    end = client.finish("print('fine')").end
    assert (end.status, end.reason, end.exit_code, end.signal) == (Status.COMPLETED, None, 0, None)
    assert end.created_at <= end.started_at <= end.ended_at
    assert end.ended_at - end.created_at < timedelta(minutes=1)
    assert end.command == ("python", "main.py")
    assert {"code", "environment", "run"} <= set(end.phases)
    assert end.host.id
    assert end.supervisor


@pytest.mark.parametrize("code", [1, 3, 255])
def test_an_exit_code_is_told_with_the_last_lines(client, code):
    end = client.finish(f"import sys\nfor n in range(40): print('line', n)\nsys.exit({code})").end
    assert (end.status, end.reason, end.exit_code, end.signal) == (Status.FAILED, Reason.SCRIPT, code, None)
    assert end.last_lines.splitlines() == [f"line {n}" for n in range(20, 40)]


@pytest.mark.parametrize("number", [6, 9, 15])
def test_a_signal_that_was_not_ours_is_told(client, number):
    end = client.finish(f"import os; print('going'); os.kill(os.getpid(), {number}); os.wait()").end
    assert (end.status, end.reason, end.signal) == (Status.FAILED, Reason.SIGNAL, number)
    assert end.last_lines == "going\n" or end.last_lines == "going"


def test_an_exit_code_that_looks_like_a_signal_is_an_exit_code(client):
    end = client.finish("import sys; sys.exit(137)").end
    assert (end.reason, end.exit_code, end.signal) == (Reason.SCRIPT, 137, None)


def test_a_program_that_is_not_there_is_a_failure_to_launch(client):
    end = client.finish(argv=("no-such-program", "--help")).end
    assert (end.status, end.reason) == (Status.FAILED, Reason.LAUNCH)
    assert "no-such-program" in end.message


def test_a_file_that_may_not_be_executed_is_a_failure_to_launch(client):
    end = client.finish(files={"tool": "no program"}, argv=("./tool",)).end
    assert (end.status, end.reason) == (Status.FAILED, Reason.LAUNCH)
    assert "tool" in end.message


def test_an_environment_that_cannot_be_prepared_is_a_failure_of_the_environment(client):
    end = client.finish("print('never')", environment=user_managed("/no/such/python")).end
    assert (end.status, end.reason, end.exit_code) == (Status.FAILED, Reason.ENVIRONMENT, None)
    assert "/no/such/python" in end.message


def test_a_script_that_runs_too_long_is_over_time(client):
    script = "import time; print('begun', flush=True); time.sleep(600)"
    followed = client.finish(script, limits=Limits(max_run_duration_s=0.5, grace_s=GRACE_S))
    assert (followed.end.status, followed.end.reason) == (Status.FAILED, Reason.TIMEOUT)
    assert followed.log == b"begun\n"


def test_a_run_whose_supervisor_was_killed_is_lost_and_nothing_of_it_lives(client, place):
    script = """
import os, subprocess, sys, time
child = subprocess.Popen(["sleep", "600"])
print(os.getppid(), os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
    started = client.start(script)
    supervisor, *pids = client.wait_for(started.run_id, "\n").log.split()
    place.run("kill", "-9", supervisor.decode())
    end = client.follow(started.run_id).end
    assert (end.status, end.reason) == (Status.FAILED, Reason.LOST)
    alive = place.run("ps", "-o", "pid=,stat=", "-p", ",".join(pid.decode() for pid in pids), check=False).split()
    assert [stat for stat in alive[1::2] if not stat.startswith(b"Z")] == []


def test_a_run_is_seen_in_every_state_that_it_goes_through(client, place):
    fifo = place.fifo(uuid.uuid4().hex)
    started = client.start("import sys; print('up', flush=True); open(sys.argv[1])", argv=("python", "main.py", fifo))
    assert started.status.status in (Status.STARTING, Status.PREPARING, Status.QUEUED, Status.RUNNING)
    running = client.follow(started.run_id, until=lambda f: f.status.status is Status.RUNNING).status
    assert (running.reason, running.ended_at, running.exit_code) == (None, None, None)
    place.let_go(fifo)
    ended = client.follow(started.run_id).end
    assert ended.serial > running.serial
    assert ended.started_at == running.started_at
