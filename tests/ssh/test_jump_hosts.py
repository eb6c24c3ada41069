"""A host that only another one reaches is reached through it; where that fails, the one that failed is named."""

from __future__ import annotations

import pytest

from airflow_provider.scriptrun.errors import TargetError, TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from tests.network.sshd import Sshd
from tests.ssh.test_way_in import new_key, other_host_key

pytestmark = [pytest.mark.needs("sshd", "network namespace"), pytest.mark.slow]


@pytest.fixture(scope="module")
def gate():
    """A server that we reach."""
    with Sshd() as server:
        yield server


@pytest.fixture(scope="module")
def inner(gate):
    """A server that only the gate reaches."""
    with Sshd(inside=gate) as server:
        yield server


@pytest.fixture
def through(worker, gate, inner):
    """Make the connection to the inner server through the gate; return it."""

    def make(**gate_fields):
        worker.connect(gate.connection("ssh", **{"root": None, **gate_fields}), "gate")
        return inner.connection(jump_hosts="gate")

    return make


def test_a_run_works_on_a_host_that_only_another_one_reaches(worker, gate, inner, through):
    document = through()
    with worker.client(document) as client:
        followed = client.finish("import getpass; print(getpass.getuser())")
    assert (followed.end.status, followed.log.decode()) == (Status.COMPLETED, f"{inner.user}\n")
    assert f"Accepted publickey for {gate.user}" in gate.log()


def test_without_the_jump_host_it_is_not_reached(worker, inner, through):
    document = through()
    del document["extra"]["jump_hosts"]
    with pytest.raises(TargetError):  # another server may listen at this port of our own loopback
        worker.check(document)


def test_a_chain_of_jump_hosts_works(worker, gate, inner, through):
    document = through()
    worker.connect(inner.connection("ssh", root=None), "second")
    document["extra"]["jump_hosts"] = "gate, second"
    assert worker.check(document).user == inner.user


def test_a_jump_host_that_forbids_forwarding_is_called_so(worker, gate, inner, through):
    gate.restart({"AllowTcpForwarding": "no"})
    try:
        message = worker.refusal(through(), TargetUnreachableError)
    finally:
        gate.restart({})
    assert f"No SSH connection to {inner.user}@127.0.0.1:22 can be made through gate" in message
    assert "AllowTcpForwarding" in message


def test_a_host_that_the_jump_host_does_not_reach_is_named(worker, gate, inner, through):
    message = worker.refusal({**through(), "port": 2}, TargetUnreachableError)
    assert f"No SSH connection to {inner.user}@127.0.0.1:2 can be made through gate" in message


def test_a_wrong_key_for_the_jump_host_names_the_jump_hosts_connection(worker, gate, through):
    message = worker.refusal(through(private_key=new_key()), TargetRefusedError)
    assert f"{gate.user}@{gate.address}:22 does not let us in" in message
    assert "of the connection gate" in message


def test_another_host_key_of_the_jump_host_names_the_jump_hosts_connection(worker, gate, through):
    message = worker.refusal(through(host_key=other_host_key()), TargetRefusedError)
    assert f"The host key of {gate.user}@{gate.address}:22 is not the expected one" in message
    assert "host_key of the connection gate" in message


def test_a_wrong_key_for_the_inner_host_names_its_own_connection(worker, inner, through):
    document = through()
    document["extra"]["private_key"] = new_key()
    message = worker.refusal(document, TargetRefusedError)
    assert f"{inner.user}@127.0.0.1:22 does not let us in" in message
    assert "of the connection vm" in message


def test_a_jump_host_that_dies_breaks_the_connection_and_the_run_goes_on(worker, gate, inner, through):
    with worker.client(through()) as client:
        script = "import sys, time\nprint('begun', flush=True)\ntime.sleep(1)\nprint('over')"
        started = client.start(script)
        client.wait_for(started.run_id, "begun\n")
        gate.kill_connections()
        assert client.follow(started.run_id).log == b"begun\nover\n"
