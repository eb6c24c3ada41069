"""A server with limits of its own: few sessions, few logins at once, one command alone, no terminal."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor

import pytest

from airflow_provider.scriptrun.errors import ScriptRunError, TargetRefusedError
from airflow_provider.scriptrun.hooks.scriptrun import ScriptRunHook
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets.contract import Cursor

pytestmark = [pytest.mark.needs("sshd"), pytest.mark.slow]

#: So many tasks begin at the same moment.
TASKS = 10
WAITING = "import sys\nprint('waits', flush=True)\nopen(sys.argv[1]).read()"


@pytest.mark.parametrize("sessions", ["1", "2"])
def test_a_server_that_allows_few_sessions_gets_more_connections(worker, server, options, sessions, tmp_path):
    options(MaxSessions=sessions)
    fifo = f"{server.host.home}/fifo{sessions}"
    server.run("mkfifo", fifo)
    with worker.client(server.connection()) as client:
        started = client.start(WAITING, argv=("python", "main.py", fifo))
        seen = client.wait_for(started.run_id, "waits\n")
        cursor = Cursor(started.run_id, seen=seen.status.serial, offsets={})
        news: list[object] = []
        polls = [
            threading.Thread(target=lambda: news.extend(client.target.poll([cursor], wait_s=30))) for _ in range(4)
        ]
        for poll in polls:
            poll.start()
        assert client.target.status([started.run_id])[started.run_id].status is Status.RUNNING
        server.run("sh", "-c", f": > {fifo}")
        assert client.follow(started.run_id).end.status is Status.COMPLETED
        for poll in polls:
            poll.join()
        assert len(news) == 4


def test_a_server_that_allows_no_session_is_called_so(worker, server, options):
    options(MaxSessions="0")
    message = worker.refusal(server.connection(), TargetRefusedError)
    assert f"{server.user}@127.0.0.1:{server.port} lets us in, and opens no session" in message
    assert "MaxSessions in its sshd_config" in message


def _user(name: str) -> str:
    try:
        return str(ScriptRunHook(name).check().user)
    except ScriptRunError as error:
        return str(error)


@pytest.mark.slow
def test_a_server_that_lets_one_log_in_at_a_time_lets_all_in_in_the_end(worker, server, options):
    options(MaxStartups="1:100:1")
    name = worker.connect(server.connection())
    # each task is a process of its own
    with ProcessPoolExecutor(TASKS, multiprocessing.get_context("fork")) as tasks:
        assert list(tasks.map(_user, [name] * TASKS)) == [server.user] * TASKS
    assert "MaxStartups" in server.log(), "nobody was turned away, so nothing was tested"


@pytest.mark.parametrize("command", ["/bin/false", "echo This account is for backups alone.", "internal-sftp"])
def test_a_server_that_runs_another_command_than_ours_is_called_so(worker, server, options, command):
    options(ForceCommand=command)
    message = worker.refusal(server.connection(), TargetRefusedError)
    assert "ForceCommand" in message
    if command.startswith("echo"):
        assert "This account is for backups alone." in message


def test_a_key_that_may_run_one_command_alone_is_called_so(worker, server, tmp_path):
    import subprocess

    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    server.authorize(f'command="/bin/false",restrict {key.with_suffix(".pub").read_text()}')
    message = worker.refusal(server.connection(private_key=key.read_text()), TargetRefusedError)
    assert "authorized_keys" in message


def test_no_terminal_is_needed(worker, server, options):
    options(PermitTTY="no", AllowTcpForwarding="no", X11Forwarding="no", AllowAgentForwarding="no")
    with worker.client(server.connection()) as client:
        assert client.finish("print('works')").log == b"works\n"


@pytest.mark.needs("another user")
def test_a_user_whose_shell_lets_nobody_in_is_called_so(worker):
    from tests.network.sshd import Sshd

    with Sshd(shell="/usr/sbin/nologin", own_network=False) as server:
        message = worker.refusal(server.connection(), TargetRefusedError)
    assert "This account is currently not available" in message
    assert "login shell" in message


def test_a_server_that_wants_two_proofs_says_what_it_wants(worker, server, options):
    options(AuthenticationMethods="publickey,password")
    message = worker.refusal(server.connection(), TargetRefusedError)
    assert "does not let us in" in message
    assert "password" in message
