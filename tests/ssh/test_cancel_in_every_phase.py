"""Cancelled in whatever phase, a run is over, says so, and has left no process on the host."""

from __future__ import annotations

import socket
import threading

import pytest

from airflow_provider.scriptrun import Environment
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets.contract import Limits, Outcome
from tests.conformance.client import DEFAULT_ENVIRONMENT
from tests.ssh.left_behind import assert_nothing_left, of_run
from tests.ssh.watched import PATIENCE_S, SCRIPT, Site, Watching

pytestmark = [pytest.mark.needs("sshd"), pytest.mark.slow]

MEGABYTE = 1024 * 1024
#: A child that left its session, its parent and its folder, and one that only left its session.
CHILDREN = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        print("daemon", os.getpid(), flush=True)
        time.sleep(600)
    time.sleep(600)
print("begun", flush=True)
time.sleep(600)
"""
#: The script is over; what it left behind does not want to go.
LEAVES_A_CHILD = """
import os, signal, time
ready, said = os.pipe()
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(said, b"x")
    time.sleep(600)
os.read(ready, 1)
"""


@pytest.fixture
def client(worker, server):
    with worker.client(server.connection()) as client:
        yield client


def assert_canceled(watching: Watching, server) -> None:
    record = watching.record()
    assert (record["status"], record["reason"]) == ("Canceled", "canceled"), record
    assert_nothing_left(server, watching.run.id)


def test_before_it_started_a_run_is_cancelled_for_good(client, server):
    request, tree = client.request("print('never')")
    end = client.target.cancel(request.run_id, lineage=request.lineage)
    assert (end.status, end.reason) == (Status.CANCELED, Reason.CANCELED)
    assert client.submit(request, tree).outcome is Outcome.CANCELED
    assert client.target.status([request.run_id])[request.run_id].status is Status.CANCELED
    assert_nothing_left(server, request.run_id)


def test_while_its_files_are_sent_a_run_is_cancelled_and_does_not_start_when_they_are_there(client, worker, server):
    request, tree = client.request("print('never')", files={"data": bytes(range(256)) * (4 * MEGABYTE // 256)})
    assert client.target.start(request).outcome is Outcome.MISSING
    is_sending, may_go_on = threading.Event(), threading.Event()

    def hold(*_: object) -> None:
        is_sending.set()
        assert may_go_on.wait(PATIENCE_S)

    sending = threading.Thread(target=client.target.send, args=(tree,), kwargs={"progress": hold})
    sending.start()
    try:
        assert is_sending.wait(PATIENCE_S)
        with worker.open(server.connection()) as other:
            end = other.cancel(request.run_id, lineage=request.lineage)
        assert sending.is_alive()
    finally:
        may_go_on.set()
        sending.join(PATIENCE_S)
    assert end.status is Status.CANCELED
    assert client.target.start(request).outcome is Outcome.CANCELED
    assert_nothing_left(server, request.run_id)


def test_while_its_environment_is_built_a_run_is_cancelled(worker, server):
    worker.connect(server.connection())
    with socket.create_server(("127.0.0.1", 0)) as index:  # it takes whoever asks, and never answers
        index.settimeout(PATIENCE_S)
        requirements = worker.folder / "requirements.txt"
        requirements.write_text(f"--index-url http://127.0.0.1:{index.getsockname()[1]}/simple\nsome-package\n")
        environment = Environment.from_pip_requirements("stuck", str(requirements))
        run = worker.submit({"main.py": "print('never')"}, environment=environment)
        watching = Watching(run)
        asking, _ = index.accept()
        with asking:
            assert run.get_status() == "Preparing"
            assert of_run(server, run.id)
            assert run.cancel() is Status.CANCELED
            assert_canceled(watching, server)
    assert b"never" not in b"".join(run.folder.read("build.log"))


def test_while_it_waits_for_its_turn_a_run_is_cancelled_and_the_one_before_it_is_not(worker, server):
    worker.connect(server.connection(max_runs=1))
    site = Site(server, "first", gated=True)
    first = Watching(worker.submit({"main.py": SCRIPT}, arguments=site.arguments))
    first.heard("begun")
    second = Watching(worker.submit({"main.py": "print('never')"}))
    second.heard("waits for its turn")
    assert second.run.cancel() is Status.CANCELED
    assert_canceled(second, server)
    assert "never" not in second.ears.lines
    site.let_go()
    site.assert_whole(first.run, first.record())


def test_while_it_runs_a_run_is_cancelled_with_all_children_that_left_it(worker, server):
    worker.connect(server.connection())
    watching = Watching(worker.submit({"main.py": CHILDREN}))
    watching.heard("begun")
    watching.heard("daemon")
    assert len(of_run(server, watching.run.id)) >= 4  # the supervisor, the script, two children
    assert watching.run.cancel() is Status.CANCELED
    assert_canceled(watching, server)


def test_after_its_script_a_run_is_ended_at_once_and_stays_as_the_script_ended(client, server):
    started = client.start(LEAVES_A_CHILD, limits=Limits(grace_s=600.0), environment=DEFAULT_ENVIRONMENT)
    client.follow(started.run_id, until=lambda followed: followed.status.status is Status.FINALIZING)
    assert of_run(server, started.run_id)
    end = client.target.cancel(started.run_id)
    assert (end.status, end.exit_code) == (Status.COMPLETED, 0)
    assert_nothing_left(server, started.run_id)


def test_a_run_that_is_over_stays_as_it_ended(worker, server):
    worker.connect(server.connection())
    watching = Watching(worker.submit({"main.py": "print('done')"}))
    assert watching.record()["status"] == "Completed"
    assert watching.run.cancel() is Status.COMPLETED
    watching.run.close()
    assert_nothing_left(server, watching.run.id)
