"""What breaks between a worker and a host, or takes the host away: the run goes on, or is lost in bounded time."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import pytest

from airflow_provider.scriptrun.errors import OtherHostError, RunLostError
from airflow_provider.scriptrun.hooks import ssh
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets import session
from airflow_provider.scriptrun.targets.contract import Outcome
from tests.network.proxy import DelayingProxy
from tests.network.sshd import Sshd
from tests.ssh.watched import SCRIPT, Site, Watching

pytestmark = [pytest.mark.needs("sshd"), pytest.mark.slow]

MEGABYTE = 1024 * 1024
BOOT_ID = "/proc/sys/kernel/random/boot_id"
MACHINE_ID = "/etc/machine-id"


@pytest.fixture
def host():
    """A server of this test's own, to be broken."""
    with Sshd(own_network=False) as server:
        yield server


@pytest.fixture
def proxy(host):
    with DelayingProxy(host) as proxy:
        yield proxy


@pytest.fixture
def site(host):
    return Site(host, "gated", gated=True, lines=100)


def through(host, proxy):
    return host.connection(via=proxy, host_key=None, no_host_key_check=True)


# The server


def test_a_server_that_is_killed_and_comes_back_costs_the_run_nothing(worker, host, site):
    worker.connect(host.connection())
    watching = Watching(worker.submit({"main.py": SCRIPT}, arguments=site.arguments))
    watching.heard("begun")
    host.halt()
    watching.heard("The run goes on; trying again")
    site.let_go()
    host.restart()
    site.assert_whole(watching.run, watching.record())
    assert watching.ears.lines.count("begun") == 1


def test_a_run_ends_while_the_server_is_away_and_is_collected_afterwards(worker, host, site):
    worker.connect(host.connection())
    watching = Watching(worker.submit({"main.py": SCRIPT}, arguments=site.arguments))
    watching.heard("begun")
    host.halt()
    site.let_go()
    watching.heard("The run goes on; trying again")
    deadline = time.monotonic() + 30
    while host.running() and time.monotonic() < deadline:  # the run's supervisor is gone when the run is over
        time.sleep(0.02)
    assert host.running() == []
    host.restart()
    site.assert_whole(watching.run, watching.record())


def test_a_frozen_host_costs_the_run_nothing(worker, host, site, monkeypatch):
    monkeypatch.setattr(session, "PATIENCE_S", 1.0)
    monkeypatch.setattr(ssh, "BANNER_TIMEOUT_S", 1.0)
    monkeypatch.setenv("AIRFLOW__SCRIPTRUN__POLL_WAIT_SECONDS", "1")
    worker.connect(host.connection())
    watching = Watching(worker.submit({"main.py": SCRIPT}, arguments=site.arguments))
    watching.heard("begun")
    host.freeze()
    watching.heard("did not answer for")
    watching.heard("it accepted the connection and then said nothing")
    host.thaw()
    site.let_go()
    site.assert_whole(watching.run, watching.record())


# The connection


@pytest.mark.parametrize(
    ("direction", "after_bytes"),
    [
        ("up", 1),
        ("up", 1500),  # on the way in
        ("up", 4500),
        ("up", 8000),
        ("up", 20_000),  # the install
        ("up", 2 * MEGABYTE),  # the blobs
        ("down", 1500),
        ("down", 3000),
        ("down", 6000),  # the answers
        ("down", MEGABYTE),  # the log
        ("down", 6 * MEGABYTE),  # the outputs
    ],
)
def test_a_connection_that_is_reset_after_so_many_bytes_costs_the_run_nothing(
    worker, host, proxy, direction, after_bytes
):
    site = Site(host, "cut", lines=100_000)
    worker.connect(through(host, proxy))
    proxy.cut(direction, after_bytes)
    run = worker.submit({"main.py": SCRIPT, "data": os.urandom(3 * MEGABYTE)}, arguments=site.arguments)
    site.assert_whole(run, Watching(run).record())


def test_connections_that_are_reset_while_the_run_waits_cost_it_nothing(worker, host, proxy, site):
    worker.connect(through(host, proxy))
    watching = Watching(worker.submit({"main.py": SCRIPT}, arguments=site.arguments))
    watching.heard("begun")
    for _ in range(5):
        connections = proxy.traffic().connections
        proxy.drop()
        while proxy.traffic().connections == connections:  # it comes back
            assert watching.is_watching()
            time.sleep(0.01)
    site.let_go()
    site.assert_whole(watching.run, watching.record())


def test_what_arrived_whole_is_not_sent_again(worker, host, proxy):
    site = Site(host, "resumed")
    files = {"main.py": SCRIPT, **{f"data{n}": os.urandom(2 * MEGABYTE) for n in range(4)}}
    worker.connect(through(host, proxy))
    worker.open(through(host, proxy)).check()
    before = proxy.traffic().up_bytes
    proxy.cut("up", 7 * MEGABYTE)
    run = worker.submit(files, arguments=site.arguments)
    site.assert_whole(run, Watching(run).record())
    # three of the four were there when it broke; the half of the last one is sent twice
    assert proxy.traffic().up_bytes - before < 12 * MEGABYTE


def test_a_link_that_swallows_everything_is_given_up_and_made_anew(worker, host, proxy, site, monkeypatch):
    monkeypatch.setattr(session, "PATIENCE_S", 1.0)
    monkeypatch.setenv("AIRFLOW__SCRIPTRUN__POLL_WAIT_SECONDS", "1")
    worker.connect(through(host, proxy))
    watching = Watching(worker.submit({"main.py": SCRIPT}, arguments=site.arguments))
    watching.heard("begun")
    proxy.stall()
    watching.heard("did not answer for")
    proxy.drop()
    proxy.stall(False)
    site.let_go()
    site.assert_whole(watching.run, watching.record())


# The host


@pytest.mark.needs("tmpfs")
def test_a_run_on_a_host_that_rebooted_is_lost_and_a_new_try_starts_anew(worker, host, site):
    worker.connect(host.connection())
    watching = Watching(worker.submit({"main.py": SCRIPT}, arguments=site.arguments))
    watching.heard("begun")
    host.crash()
    host.restart(files={BOOT_ID: f"{uuid.uuid4()}\n"})
    began = time.monotonic()
    record = watching.record()
    assert time.monotonic() - began < 30
    assert (record["status"], record["reason"]) == ("Failed", "lost")
    assert "The host was restarted while the run was Running" in record["message"]
    with pytest.raises(RunLostError, match="The host was restarted"):
        watching.run.raise_for_status()
    assert b"".join(watching.run.folder.read("run.log")) == b"begun\n"
    second = Site(host, "second")
    run = worker.submit({"main.py": SCRIPT}, arguments=second.arguments)
    second.assert_whole(run, Watching(run).record())


def test_a_run_whose_every_process_was_killed_is_lost(worker, host, site):
    worker.connect(host.connection())
    watching = Watching(worker.submit({"main.py": SCRIPT}, arguments=site.arguments))
    watching.heard("begun")
    host.crash()
    host.restart()
    record = watching.record()
    assert (record["status"], record["reason"]) == ("Failed", "lost")
    assert "supervisor was killed while the run was Running" in record["message"]


@pytest.mark.needs("tmpfs")
def test_a_start_repeated_after_a_reboot_is_a_new_run_of_the_same_lineage(worker, host, site):
    from dataclasses import replace

    from airflow_provider.scriptrun.targets.contract import Attempt

    with worker.client(host.connection()) as client:
        request, tree = client.request(SCRIPT, argv=("python", "main.py", *site.arguments), attempt=Attempt(1, 3))
        client.submit(request, tree)
        client.wait_for(request.run_id, "begun")
        host.crash()
        host.restart(files={BOOT_ID: f"{uuid.uuid4()}\n"})
        same = client.submit(request, tree)
        assert (same.outcome, same.run_id) == (Outcome.ACCEPTED, request.run_id)
        end = client.follow(same.run_id).end
        assert (end.status, end.reason) == (Status.FAILED, Reason.LOST)
        again = client.submit(replace(request, run_id=f"again_{uuid.uuid4().hex}", attempt=Attempt(2, 3)), tree)
        assert again.run_id != request.run_id
        client.wait_for(again.run_id, "begun")
        site.let_go()
        assert client.follow(again.run_id).end.status is Status.COMPLETED
        assert site.executions == 2


@pytest.mark.needs("tmpfs")
def test_a_connection_that_leads_to_another_machine_by_now_touches_nothing_there(worker, host, site):
    worker.connect(host.connection(root="~/.scriptrun"))
    run = worker.submit({"main.py": SCRIPT}, arguments=site.arguments)
    run.close()
    with Sshd(own_network=False, files={MACHINE_ID: f"{uuid.uuid4().hex}\n"}) as other:
        worker.connect(other.connection(root="~/.scriptrun"))
        for ask in (run.get_status, run.cancel, run.collect, lambda: run.watch()):
            with pytest.raises(OtherHostError, match="leads to another host than before"):
                ask()
            run.close()
        assert [*Path(other.host.home, ".scriptrun", "runs").iterdir()] == []
    worker.connect(host.connection(root="~/.scriptrun"))
    site.let_go()
    site.assert_whole(run, Watching(run).record())


@pytest.mark.needs("tmpfs")
def test_a_machine_that_was_replaced_under_the_same_address_is_asked_anew(worker, host):
    worker.connect(host.connection())
    for machine in (uuid.uuid4().hex, uuid.uuid4().hex):
        host.restart(files={MACHINE_ID: f"{machine}\n"})
        for _ in range(2):
            site = Site(host, uuid.uuid4().hex)
            run = worker.submit({"main.py": SCRIPT}, arguments=site.arguments)
            site.assert_whole(run, Watching(run).record())
            assert run.submission["handle"]["host_id"] == machine
