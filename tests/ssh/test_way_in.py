"""Each step of the way in that can fail has a message of its own: name, port, host key, login."""

from __future__ import annotations

import io
import re
import socket
import threading
import time
from pathlib import Path

import paramiko
import pytest

from airflow_provider.scriptrun.errors import ConfigurationError, TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.hooks import ssh
from airflow_provider.scriptrun.hooks.scriptrun import ScriptRunHook
from airflow_provider.scriptrun.targets.transports import ssh_connections
from tests.ssh.conftest import PASSWORD

pytestmark = pytest.mark.needs("sshd")

#: What is not waited for, is refused long before.
AT_ONCE_S = 10.0


def new_key(passphrase: str | None = None) -> str:
    text = io.StringIO()
    paramiko.ECDSAKey.generate().write_private_key(text, password=passphrase)
    return text.getvalue()


def other_host_key() -> str:
    key = paramiko.ECDSAKey.generate()
    return f"{key.get_name()} {key.get_base64()}"


# The name and the port


def test_a_name_that_does_not_resolve_is_said_to_be_none(worker, server):
    message = worker.refusal({**server.connection(), "host": "no-such-host.invalid"}, TargetUnreachableError)
    assert "The host name 'no-such-host.invalid' of the connection vm cannot be resolved" in message
    assert "spelled right" in message


def test_a_port_at_which_nothing_listens_is_named(worker, server):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    message = worker.refusal({**server.connection(), "port": port}, TargetUnreachableError)
    assert f"No SSH connection to {server.user}@127.0.0.1:{port} can be made. Connection refused" in message
    assert "Are address and port right" in message


def test_a_host_that_drops_packets_is_given_up_when_the_connection_says_so(worker, server):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(2)]
        for client in waiting:  # the queue is full now: the kernel drops whoever else wants in
            client.setblocking(False)
            client.connect_ex(address)
        began = time.monotonic()
        document = {**server.connection(conn_timeout=1), "port": address[1]}
        message = worker.refusal(document, TargetUnreachableError)
        assert time.monotonic() - began < AT_ONCE_S
        for client in waiting:
            client.close()
    assert f"127.0.0.1:{address[1]} can be made. timed out" in message
    assert "firewall" in message


def test_a_host_that_accepts_and_says_nothing_is_given_up_after_one_wait(worker, server, monkeypatch):
    monkeypatch.setattr(ssh, "BANNER_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        document = {**server.connection(), "port": silent.getsockname()[1]}
        began = time.monotonic()
        message = worker.refusal(document, TargetUnreachableError)
        assert time.monotonic() - began < AT_ONCE_S
    assert "it accepted the connection and then said nothing" in message


def test_what_is_no_ssh_server_is_called_so(worker, server, monkeypatch):
    monkeypatch.setattr(ssh_connections, "FIRST_LOGIN_PAUSE_S", 0.001)  # it could be a busy one, which is asked again
    with socket.create_server(("127.0.0.1", 0)) as web:

        def answer() -> None:
            while True:
                try:
                    client, _ = web.accept()
                except OSError:
                    return
                with client:
                    client.recv(1000)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        document = {**server.connection(), "port": web.getsockname()[1]}
        message = worker.refusal(document, TargetUnreachableError)
        web.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert "it ends the connection without speaking SSH" in message
    assert "Are address and port right" in message


# The host key


def test_another_host_key_than_the_expected_one_is_refused_with_both(worker, server):
    message = worker.refusal(server.connection(host_key=other_host_key()), TargetRefusedError)
    assert "is not the expected one: another machine answers, or its key was changed" in message
    assert server.host_key in message
    assert "ecdsa-sha2-nistp256 SHA256:" in message
    assert "correct host_key of the connection vm" in message


def test_an_unknown_host_key_is_refused_with_the_line_that_makes_it_known(worker, server):
    message = worker.refusal(server.connection(host_key=None), TargetRefusedError)
    assert "is not known, so nobody can say whether this is the right machine" in message
    assert "into the field host_key of the connection vm" in message
    (line,) = re.findall(r"ssh-ed25519 \S+", message)
    assert worker.check(server.connection(host_key=line)).user == server.user


def test_a_known_hosts_file_makes_a_host_known(worker, server):
    document = server.connection(host_key=None, known_hosts=server.known_hosts)
    assert worker.check(document).user == server.user


def test_host_keys_are_not_checked_where_the_connection_says_so(worker, server):
    assert worker.check(server.connection(host_key=None, no_host_key_check=True)).user == server.user


# The login


@pytest.mark.needs("another user")
@pytest.mark.parametrize("conn_type", ["scriptrun_ssh", "ssh"])
def test_a_wrong_password_is_refused_and_the_right_one_is_not(worker, server, conn_type):
    message = worker.refusal(server.connection(conn_type, password="wrong password"), TargetRefusedError)
    assert f"{server.user}@127.0.0.1:{server.port} does not let us in" in message
    assert "Check login, password or private_key of the connection vm" in message
    assert "wrong password" not in message
    assert worker.check(server.connection(conn_type, password=PASSWORD)).user == server.user


@pytest.mark.parametrize("conn_type", ["scriptrun_ssh", "ssh"])
def test_a_key_that_the_host_does_not_know_is_refused(worker, server, conn_type):
    message = worker.refusal(server.connection(conn_type, private_key=new_key()), TargetRefusedError)
    assert "does not let us in" in message
    assert "authorized_keys there has the public key" in message


def test_an_unknown_user_is_refused(worker, server):
    message = worker.refusal({**server.connection(), "login": "nobody-here"}, TargetRefusedError)
    assert f"nobody-here@127.0.0.1:{server.port} does not let us in" in message


@pytest.mark.parametrize("conn_type", ["scriptrun_ssh", "ssh"])
@pytest.mark.parametrize("passphrase", [None, "wrong"], ids=["missing", "wrong"])
def test_a_key_with_a_passphrase_needs_the_right_one(worker, server, conn_type, passphrase):
    document = server.connection(conn_type, private_key=new_key("open sesame"), private_key_passphrase=passphrase)
    message = worker.refusal(document, ConfigurationError)
    assert "The connection vm cannot be used" in message
    assert "Has it a passphrase, and is that the right one?" in message
    assert "sesame" not in message


@pytest.mark.parametrize("conn_type", ["scriptrun_ssh", "ssh"])
def test_a_key_with_its_passphrase_lets_us_in(worker, server, conn_type, tmp_path):
    text = new_key("open sesame")
    key = paramiko.ECDSAKey.from_private_key(io.StringIO(text), password="open sesame")
    server.authorize(f"{key.get_name()} {key.get_base64()}")
    document = server.connection(conn_type, private_key=text, private_key_passphrase="open sesame")
    assert worker.check(document).user == server.user
    file = tmp_path / "key"
    file.write_text(text)
    document = server.connection(conn_type, private_key=None, key_file=str(file), private_key_passphrase="open sesame")
    assert worker.check(document).user == server.user


@pytest.mark.parametrize("conn_type", ["scriptrun_ssh", "ssh"])
def test_a_key_file_that_cannot_be_read_is_named(worker, server, conn_type):
    document = server.connection(conn_type, private_key=None, key_file="/not/there/key")
    message = worker.refusal(document, ConfigurationError)
    assert "The connection vm: its key_file /not/there/key cannot be read on this host. No such file" in message
    assert "Every worker needs the file" in message


@pytest.mark.parametrize("conn_type", ["scriptrun_ssh", "ssh"])
def test_a_file_that_holds_no_key_is_named(worker, server, conn_type, tmp_path):
    file = tmp_path / "key"
    file.write_text("no key\n")
    message = worker.refusal(server.connection(conn_type, private_key=None, key_file=str(file)), ConfigurationError)
    assert "The connection vm cannot be used" in message


# An Airflow ssh connection, as the SSH provider documents it


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"compress": "true", "cmd_timeout": "10", "conn_timeout": "10"},
        {"no_host_key_check": "true", "host_key": None},
        {"no_host_key_check": True, "host_key": None, "allow_host_key_change": True},
        {"look_for_keys": "false"},
        {"disabled_algorithms": {"pubkeys": ["rsa-sha2-256"]}, "ciphers": ["aes256-ctr"]},
    ],
    ids=str,
)
def test_an_ssh_connection_of_airflow_works_as_it_is(worker, server, extra):
    assert worker.check(server.connection("ssh", **extra)).user == server.user


def test_an_ssh_connection_of_airflow_may_name_a_key_file(worker, server):
    document = server.connection("ssh", private_key=None, key_file=server.key_path)
    assert worker.check(document).user == server.user


def test_a_connection_written_as_a_uri_works(worker, server, monkeypatch):
    where = f"ssh://{server.user}@{server.address}:{server.port}/"
    monkeypatch.setenv("AIRFLOW_CONN_VM", f"{where}?key_file={server.key_path}&no_host_key_check=true")
    assert ScriptRunHook("vm").check().user == server.user


def test_the_test_button_tells_what_was_found_and_what_failed(worker, server):
    worker.connect(server.connection())
    works, text = ScriptRunHook("vm").test_connection()
    assert works
    assert server.host.root in text
    worker.connect(server.connection(private_key=new_key()))
    works, text = ScriptRunHook("vm").test_connection()
    assert not works
    assert "does not let us in" in text


def test_a_connection_is_kept_alive_while_nothing_is_said(worker, server):
    from tests.network.proxy import DelayingProxy

    with DelayingProxy(server) as proxy:
        document = {**server.connection(keepalive_interval=1, known_hosts=server.known_hosts), "port": proxy.port}
        document["extra"]["no_host_key_check"], document["extra"]["host_key"] = True, None
        with worker.open(document) as target:
            target.check()
            before = proxy.traffic().up_bytes
            deadline = time.monotonic() + 30
            while proxy.traffic().up_bytes == before:
                assert time.monotonic() < deadline, "nothing was sent"
                time.sleep(0.05)


def test_nothing_of_ours_stays_in_the_users_home_folder_but_the_root(worker, server):
    worker.check(server.connection())
    assert {path.name for path in Path(server.host.home).iterdir()} <= {".ssh", ".scriptrun"}
