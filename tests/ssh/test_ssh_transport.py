"""A connection to a real SSH server loses no time."""

from __future__ import annotations

import pytest

from airflow_provider.scriptrun.hooks.ssh import SshDialer
from airflow_provider.scriptrun.runs.surroundings import ConnectionFields
from tests.network.sshd import Sshd


@pytest.mark.needs("sshd")
def test_what_a_server_says_of_its_own_accord_is_answered_so_that_it_waits_for_no_acknowledgement() -> None:
    with Sshd({"LogLevel": "DEBUG3"}) as server:
        document = server.connection()
        fields = {name: document[name] for name in ("host", "port", "login", "extra")}
        transport = SshDialer(ConnectionFields("vm", document["conn_type"], **fields)).dial()
        channel = transport.open_session()
        channel.exec_command("true")
        assert channel.recv_exit_status() == 0
        transport.close()
        said = server.log()
    assert "Received SSH2_MSG_IGNORE" in said
