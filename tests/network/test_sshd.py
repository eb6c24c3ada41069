"""The server that tests run against is a real one, with a user of its own, and leaves nothing behind."""

from __future__ import annotations

import io
import os
import pwd
import signal
import socket
import subprocess
import sys
from pathlib import Path

import paramiko
import pytest

from tests.network import namespace, processes
from tests.network.host import Host
from tests.network.sshd import Sshd, sweep

pytestmark = pytest.mark.needs("sshd")

PATIENCE_S = 30
#: Says who it is; then it waits for its standard input to end.
WAITING = "echo $$; cat"


def ssh(server: Sshd, *words: str) -> str:
    command = server.host.ssh(*words)
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout


def open_session(server: Sshd) -> subprocess.Popen[bytes]:
    """Return a client whose command has begun."""
    client = subprocess.Popen(server.host.ssh(WAITING), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdout.readline().strip().isdigit()
    return client


def close(client: subprocess.Popen[bytes]) -> int:
    client.communicate(timeout=PATIENCE_S)
    return client.returncode


def test_a_key_lets_the_user_in_and_the_home_folder_is_empty_but_for_it(sshd):
    assert ssh(sshd, "id -un; echo ~; ls -A ~; stat -c %a ~").split() == [sshd.user, sshd.host.home, ".ssh", "700"]


def test_a_command_beside_ssh_runs_as_the_same_user_with_the_same_home(sshd):
    script = 'id -u; id -g; id -G; echo "$HOME $USER $SHELL $PATH"'
    assert sshd.run("sh", "-c", script).decode() == ssh(sshd, script)


@pytest.mark.needs("another user")
def test_the_user_is_not_the_one_who_runs_the_tests_and_cannot_enter_its_home_folder(sshd):
    assert sshd.run("id", "-u") != b"%d\n" % os.getuid()
    assert sshd.run("sh", "-c", "ls -A ~root >/dev/null 2>&1 || echo refused") == b"refused\n"


def test_the_users_python_is_one_that_it_can_execute(sshd):
    assert ssh(sshd, "python3 -c 'import sys; print(sys.version_info >= (3, 8))'") == "True\n"


def test_the_connection_opens_a_session_and_names_the_host_key(sshd):
    connection = sshd.connection()
    with paramiko.SSHClient() as client:
        client.load_host_keys(sshd.known_hosts)
        key = paramiko.Ed25519Key.from_private_key(io.StringIO(connection["extra"]["private_key"]))
        where = {"port": connection["port"], "username": connection["login"], "pkey": key}
        client.connect(connection["host"], **where, look_for_keys=False, allow_agent=False)
        host_key = client.get_transport().get_remote_server_key()
    assert connection["extra"]["host_key"] == f"{host_key.get_name()} {host_key.get_base64()}"
    assert connection["conn_type"] == "scriptrun_ssh"


def test_a_field_of_the_connection_can_be_another_one_or_none(sshd):
    extra = sshd.connection("ssh", private_key=None, key_file=sshd.key_path)["extra"]
    assert extra == {"key_file": sshd.key_path, "host_key": sshd.host_key, "root": sshd.host.root}


def test_another_key_is_refused_until_it_is_authorized(fresh_sshd, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", key], check=True)
    command = [str(key) if word == fresh_sshd.key_path else word for word in fresh_sshd.host.ssh("echo in")]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert (refused.returncode, refused.stdout) == (255, "")
    assert "Permission denied" in refused.stderr
    fresh_sshd.authorize(Path(f"{key}.pub").read_text())
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "in\n"


@pytest.mark.needs("another user")
def test_a_password_lets_the_user_in_where_one_was_given():
    password = "correct horse"
    with Sshd(password=password) as server, paramiko.SSHClient() as client:
        client.load_host_keys(server.known_hosts)
        where = {"port": server.port, "username": server.user, "look_for_keys": False, "allow_agent": False}
        with pytest.raises(paramiko.AuthenticationException):
            client.connect(server.address, password="wrong", **where)
        client.connect(server.address, password=password, **where)
        connection = server.connection(password=password)
        assert (connection["password"], "private_key" in connection["extra"]) == (password, False)
        assert password not in server.log()


@pytest.mark.needs("another user")
@pytest.mark.parametrize(
    "shell",
    [
        "/bin/sh",
        pytest.param("/usr/bin/fish", marks=pytest.mark.needs("fish")),
        pytest.param("/usr/bin/tcsh", marks=pytest.mark.needs("tcsh")),
    ],
)
def test_the_login_shell_is_the_one_that_was_asked_for(shell):
    with Sshd(shell=shell) as server:
        executed = ssh(server, "python3 -c 'import os; print(os.path.realpath(os.environ[\"SHELL\"]))'")
        assert executed.strip() == os.path.realpath(shell)
        assert ssh(server, "ps -o args= -p 1 >/dev/null; echo $version").startswith("tcsh") == (shell.endswith("tcsh"))


def test_an_option_is_the_servers_and_a_restart_takes_another(fresh_sshd):
    port = fresh_sshd.port
    fresh_sshd.restart({"ForceCommand": "echo forced", "Banner": "none"})
    assert (ssh(fresh_sshd, "echo asked"), fresh_sshd.port) == ("forced\n", port)
    fresh_sshd.restart({})
    assert ssh(fresh_sshd, "echo asked") == "asked\n"


def test_several_host_keys_are_known():
    with Sshd(host_key_types=("ed25519", "ecdsa")) as server:
        assert {line.split()[1] for line in Path(server.known_hosts).read_text().splitlines()} == {
            "ssh-ed25519",
            "ecdsa-sha2-nistp256",
        }
        wanted = ["-o", "HostKeyAlgorithms=ecdsa-sha2-nistp256"]
        command = server.host.ssh("echo in")
        assert subprocess.run([command[0], *wanted, *command[1:]], check=True, capture_output=True).stdout == b"in\n"


def test_the_log_says_who_came(sshd):
    ssh(sshd, "true")
    assert f"Accepted publickey for {sshd.user}" in sshd.log()


def test_a_killed_connection_ends_the_client_and_not_what_was_detached(fresh_sshd):
    client = open_session(fresh_sshd)
    with fresh_sshd.host.start("sleep", "300") as detached:
        fresh_sshd.kill_connections()
        assert close(client) == 255
        assert detached.pid in [process.pid for process in fresh_sshd.running()]
        assert ssh(fresh_sshd, "echo again") == "again\n"
        detached.kill()


def test_a_halted_server_refuses_and_comes_back_at_the_same_port(fresh_sshd):
    client = open_session(fresh_sshd)
    fresh_sshd.halt()
    assert close(client) == 255
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((fresh_sshd.address, fresh_sshd.port), PATIENCE_S)
    fresh_sshd.restart()
    assert ssh(fresh_sshd, "echo again") == "again\n"


def test_nothing_of_a_frozen_host_moves_until_it_thaws(fresh_sshd):
    client = open_session(fresh_sshd)
    with fresh_sshd.host.start("sleep", "300") as detached:
        fresh_sshd.freeze()
        assert [process.state for process in processes.processes() if process.pid == detached.pid] == ["T"]
        with socket.create_connection((fresh_sshd.address, fresh_sshd.port)) as visitor:
            visitor.settimeout(0.2)
            with pytest.raises(TimeoutError):
                visitor.recv(1)  # the kernel lets it in, and nobody greets it
            fresh_sshd.thaw()
            visitor.settimeout(PATIENCE_S)
            assert visitor.recv(4) == b"SSH-"
        detached.kill()
    assert close(client) == 0


def test_another_process_finds_the_host_by_its_document(sshd):
    script = "import sys; from tests.network.host import Host; print(Host.find(sys.argv[1]).run('id', '-un').decode())"
    command = [sys.executable, "-c", script, sshd.host.document()]
    found = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == sshd.user
    assert Host.find(sshd.host.document()) == sshd.host


@pytest.mark.needs("network namespace")
def test_a_network_of_its_own_reaches_nothing_but_this_machine():
    with Sshd(own_network=True) as server:
        assert server.address != "127.0.0.1"
        routes = server.run("cat", "/proc/net/route").decode().splitlines()[1:]
        assert [line.split()[0] for line in routes] == ["eth0"]
        assert ssh(server, "echo in") == "in\n"


def test_a_server_on_loopback_works_alike():
    with Sshd(own_network=False) as server:
        assert (server.address, server.host.namespace) == ("127.0.0.1", None)
        assert server.run("id", "-un").decode() == ssh(server, "id -un")


def test_a_server_without_a_user_of_its_own_has_a_home_folder_of_its_own():
    with Sshd(own_network=False, other_user=False) as server:
        assert server.user == pwd.getpwuid(os.getuid()).pw_name
        assert ssh(server, "echo ~") == f"{server.host.home}\n"
        assert server.run("sh", "-c", "echo ~").decode() == f"{server.host.home}\n"


def left_of(host: Host) -> list[str]:
    """Return what is there of a host."""
    name = Path(host.home).parent.name
    left = [f"user {entry.pw_name}" for entry in pwd.getpwall() if entry.pw_name == name]
    left += [str(path) for path in (Path(host.home).parent, Path("/run/netns") / name) if path.exists()]
    left += [f"{process}" for process in processes.naming(name, os.getuid()) if process.name.startswith("sshd")]
    if host.user == name:
        left += [f"{process}" for process in processes.of_user(host.user_id)]
    return left


def test_nothing_is_left_of_a_stopped_server():
    with Sshd() as server:
        client = open_session(server)
        detached = server.host.start("setsid", "sh", "-c", "trap '' TERM HUP; sleep 300; sleep 300")
        assert left_of(server.host)
    assert left_of(server.host) == []
    assert detached.wait(PATIENCE_S) == -signal.SIGKILL
    assert close(client) == 255


def test_the_next_test_run_removes_what_a_killed_one_left():
    script = (
        "import sys, time; from tests.network.sshd import Sshd; server = Sshd();"
        "server.host.start('setsid', 'sleep', '300'); print(server.host.document(), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        host = Host.find(run.stdout.readline())
        sweep()
        before = left_of(host)
        run.kill()
    assert any("sshd" in line for line in before)
    sweep()
    assert left_of(host) == []


@pytest.mark.needs("network namespace")
def test_two_namespaces_have_different_addresses():
    one, other = namespace.Namespace(), namespace.Namespace()
    try:
        assert one.address != other.address
    finally:
        one.remove()
        other.remove()
