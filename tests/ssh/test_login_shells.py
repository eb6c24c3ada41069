"""A login shell that talks, fails, never ends, or is no POSIX shell: it just works, or a clear error says why not."""

from __future__ import annotations

import json

import pytest

from airflow_provider.scriptrun.errors import TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets import session
from tests.network import processes
from tests.network.sshd import Sshd

pytestmark = [pytest.mark.needs("sshd", "another user"), pytest.mark.slow]

#: Some files, an argument with a quote of every kind, and what the script sees of both.
AWKWARD = 'it\'s "quoted" $HOME `id` \\ ! * ~ #'
SCRIPT = "import os, sys\nprint(sys.argv[1])\nprint(open('data/gr\u00fc\u00dfe \u20ac.txt', encoding='utf-8').read())"


def runs(worker, document) -> None:
    """A whole run works: snapshot, arguments, log."""
    with worker.client(document) as client:
        followed = client.finish(
            SCRIPT, files={"data/gr\u00fc\u00dfe \u20ac.txt": "h\u00e9llo"}, argv=("python", "main.py", AWKWARD)
        )
    assert followed.end.status is Status.COMPLETED
    assert followed.log.decode() == f"{AWKWARD}\nh\u00e9llo\n"


@pytest.mark.parametrize(
    "shell",
    [
        "/bin/sh",
        pytest.param("/usr/bin/fish", marks=[pytest.mark.needs("fish"), pytest.mark.slow]),
        pytest.param("/usr/bin/tcsh", marks=[pytest.mark.needs("tcsh"), pytest.mark.slow]),
    ],
)
def test_a_run_works_whatever_the_login_shell(worker, shell):
    with Sshd(shell=shell, own_network=False) as server:
        runs(worker, server.connection())
        server.run("mkdir", f"{server.host.home}/it's ! a root")
        runs(worker, server.connection(root=f"{server.host.home}/it's ! a root"))


@pytest.mark.parametrize(
    "text",
    [
        "echo Welcome; echo to this host >&2",
        "printf 'no end of a line'",
        "printf '\\001scriptrun\\n{\"status\"'",
        "cd /",
        "false",
        "set -u; alias python3=false",
        "export PYTHONPATH=/nowhere PYTHONHOME=/nowhere PYTHONSTARTUP=/nowhere",
        "exec 2>/dev/null",
        "umask 077",
        "unset HOME",
        "trap 'echo bye' EXIT",
    ],
)
def test_a_start_up_file_that_talks_or_fails_does_no_harm(worker, server, bashrc, text):
    bashrc(text + "\n")
    runs(worker, server.connection())


def test_a_banner_of_sshd_does_no_harm(worker, server, options, tmp_path):
    banner = tmp_path / "banner"
    banner.write_text("Authorized use only.\n" * 100)
    options(Banner=str(banner), PrintMotd="yes")
    runs(worker, server.connection())


def test_a_megabyte_of_start_up_output_is_too_much_and_called_so(worker, server, bashrc):
    bashrc("yes 'Welcome to this host' | head -c 4000000\n")
    message = worker.refusal(server.connection(), TargetRefusedError)
    assert "Welcome to this host" in message
    assert "start-up file" in message
    assert len(message) < 5000


def test_a_megabyte_on_standard_error_does_no_harm(worker, server, bashrc):
    bashrc("yes 'Warning: this host is old' | head -c 6000000 >&2\n")
    runs(worker, server.connection())


@pytest.mark.parametrize("code", [0, 1])
def test_a_start_up_file_that_ends_the_shell_is_blamed(worker, server, bashrc, code):
    bashrc(f"echo leaving; exit {code}\n")
    message = worker.refusal(server.connection(), TargetRefusedError)
    assert f"it ended with {code}" in message
    assert "leaving" in message
    assert "start-up file" in message


def test_a_start_up_file_that_never_ends_is_waited_for_once_and_suspected(worker, server, bashrc, monkeypatch):
    monkeypatch.setattr(session, "PATIENCE_S", 1.0)
    bashrc("while true; do sleep 0.1; done\n")
    message = worker.refusal(server.connection(), TargetUnreachableError)
    assert f"{server.user}@127.0.0.1:{server.port} did not answer for 1 seconds" in message
    assert "start-up file" in message
    server.kill_connections()
    processes.kill(lambda: [process for process in server.running() if process.name == "bash"])


@pytest.mark.parametrize("locale", ["LC_ALL=C", "LC_ALL=POSIX", "LANG=C", "LC_ALL=de_DE.ISO-8859-1"])
def test_names_outside_of_ascii_arrive_whatever_the_locale(worker, server, options, locale):
    options(SetEnv=locale)
    runs(worker, server.connection())


def test_names_that_are_not_even_utf_8_arrive(worker, server, options):
    options(SetEnv="LC_ALL=C")
    script = "import os, json\nprint(json.dumps([list(os.fsencode(name)) for name in sorted(os.listdir(b'data'))]))"
    with worker.client(server.connection()) as client:
        followed = client.finish(script.replace("os.fsencode(name)", "name"), files={b"data/\xff\xfe": "x"})
    assert json.loads(followed.log) == [[0xFF, 0xFE]]
