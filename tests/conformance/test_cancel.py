"""Cancel means dead: the whole tree gets SIGTERM, SIGKILL after its grace, and is seen gone."""

from __future__ import annotations

import uuid

import pytest

from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets.contract import Limits

#: A child that left its parent, its session and its process group. Each says its line in one write: two processes share
#: the log, and `print` writes a line in parts.
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        os.write(1, b"daemon %d\\n" % os.getpid())
        time.sleep(600)
    os._exit(0)
os.wait()
os.write(1, b"script %d\\n" % os.getpid())
time.sleep(600)
"""


def pids_of(log: bytes) -> list[str]:
    """Return the process ids that a script has printed."""
    return [word.decode() for word in log.split() if word.isdigit()]


def alive(place, pids: list[str]) -> list[str]:
    """Return those of the processes that still do anything."""
    lines = place.run("ps", "-o", "pid=,stat=", "-p", ",".join(pids), check=False).decode().splitlines()
    return [line for line in lines if not line.split()[1].startswith("Z")]


@pytest.mark.core
def test_children_that_have_left_their_session_die_too(client, place):
    started = client.start(DAEMON)
    followed = client.follow(started.run_id, until=lambda f: f.log.count(b"\n") == 2)
    pids = pids_of(followed.log)
    assert len(alive(place, pids)) == 2
    end = client.target.cancel(started.run_id)
    assert alive(place, pids) == []
    assert (end.status, end.reason) == (Status.CANCELED, Reason.CANCELED)
    assert client.follow(started.run_id).end.status is Status.CANCELED


@pytest.mark.core
def test_a_script_gets_sigterm_first_and_time_to_tidy_up(client):
    script = """
import signal, sys, time
def tidy(*_):
    print("tidy", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, tidy)
print("up", flush=True)
time.sleep(600)
"""
    started = client.start(script, limits=Limits(grace_s=30))
    client.wait_for(started.run_id, "up\n")
    end = client.target.cancel(started.run_id)
    assert end.status is Status.CANCELED
    assert client.follow(started.run_id).log == b"up\ntidy\n"


def test_a_script_that_ignores_sigterm_is_killed_after_its_grace(client, place):
    script = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", os.getpid(), flush=True)
time.sleep(600)
"""
    started = client.start(script, limits=Limits(grace_s=0.3))
    pids = pids_of(client.wait_for(started.run_id, "\n").log)
    end = client.target.cancel(started.run_id)
    assert end.status is Status.CANCELED
    assert alive(place, pids) == []


def test_a_cancel_that_does_not_wait_says_that_it_was_requested_and_the_target_goes_on(client):
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    started = client.start(script, limits=Limits(grace_s=1.0))
    client.wait_for(started.run_id, "up\n")
    status = client.target.cancel(started.run_id, wait_s=0)
    assert status.status in (Status.CANCEL_REQUESTED, Status.RUNNING)
    assert client.follow(started.run_id).end.status is Status.CANCELED


def test_the_reason_of_a_cancel_stands_in_the_status(client):
    started = client.start("import time; print('up', flush=True); time.sleep(600)")
    client.wait_for(started.run_id, "up\n")
    end = client.target.cancel(started.run_id, reason=Reason.TIMEOUT)
    assert (end.status, end.reason) == (Status.FAILED, Reason.TIMEOUT)


@pytest.mark.parametrize(("code", "status"), [(0, Status.COMPLETED), (3, Status.FAILED)])
def test_a_run_that_is_over_stays_as_it_ended(client, target, code, status):
    followed = client.finish(f"import sys; sys.exit({code})")
    assert target.cancel(followed.run_id).status is status
    assert target.status([followed.run_id])[followed.run_id].status is status


def test_a_second_cancel_is_the_same_cancel(client, target):
    started = client.start("import time; print('up', flush=True); time.sleep(600)")
    client.wait_for(started.run_id, "up\n")
    assert [target.cancel(started.run_id).status for _ in range(2)] == [Status.CANCELED] * 2


def test_a_run_is_cancelled_while_it_waits_for_its_turn(fresh_client, fresh_place):
    fifo = fresh_place.fifo(uuid.uuid4().hex)
    limits = Limits(grace_s=1.0, max_runs=1)
    script = "import sys; print('up', flush=True); open(sys.argv[1])"
    first = fresh_client.start(script, argv=("python", "main.py", fifo), limits=limits)
    fresh_client.wait_for(first.run_id, "up")
    second = fresh_client.start("print('never')", limits=limits)
    fresh_client.follow(second.run_id, until=lambda f: f.status.status is Status.QUEUED)
    assert fresh_client.target.cancel(second.run_id).status is Status.CANCELED
    fresh_place.let_go(fifo)
    assert fresh_client.follow(first.run_id).end.status is Status.COMPLETED
    assert fresh_client.follow(second.run_id).log == b""


def test_a_run_is_cancelled_right_after_its_start(client, target):
    for _ in range(5):
        started = client.start("import time; time.sleep(600)")
        assert target.cancel(started.run_id).status is Status.CANCELED
