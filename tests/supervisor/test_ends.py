"""How runs end: exit codes and signals are told, the log is whole, and nothing of the run is left behind."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.supervisor.session import is_alive, start_request, wait_until

#: Forks twice, in a session of its own, with no variable left and no descriptor of the run's; writes its pid to a file.
ESCAPES = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 100)
        os.chdir("/")
        program = "import time, os; open(%r, 'w').write(str(os.getpid())); time.sleep(600)" % sys.argv[1]
        os.execve(sys.executable, [sys.executable, "-S", "-c", program], {})
    os._exit(0)
os.wait()
while not os.path.exists(sys.argv[1]) or not open(sys.argv[1]).read():
    time.sleep(0.001)
print("ready", flush=True)
"""


def test_a_script_that_succeeds_is_completed(every_target):
    status = every_target.session().run("sh", "-c", "echo out; echo err >&2")

    assert (status["status"], status["reason"], status["message"]) == ("Completed", None, None)
    assert (status["exit_code"], status["signal"], status["last_lines"]) == (0, None, None)
    assert status["log"] == b"out\nerr\n"
    assert status["created_at"] <= status["started_at"] <= status["ended_at"]
    assert set(status["phases"]) == {"code", "environment", "queue", "run"}


def test_a_script_that_fails_is_failed_with_its_exit_code_and_last_lines(every_target):
    status = every_target.session().run("sh", "-c", "seq 1 30; exit 3")

    assert (status["status"], status["reason"], status["exit_code"]) == ("Failed", "script", 3)
    assert "exit code 3" in status["message"]
    assert status["last_lines"].split() == [str(number) for number in range(11, 31)]


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV", "PIPE"])
def test_a_script_that_a_signal_ended_says_which(session, name):
    status = session.run("sh", "-c", f"kill -{name} $$")

    assert (status["status"], status["reason"]) == ("Failed", "signal")
    assert status["signal"] == signal.Signals[f"SIG{name}"]
    assert f"SIG{name}" in status["message"]


@pytest.mark.parametrize(
    "data",
    [b"no newline at the end", b"\xff\xfe\x00 not text \x80\n", b"one line" * 700_000, b"", "naïve 日本\n".encode()],
    ids=["no newline", "binary", "5 MB in one line", "nothing", "text"],
)
def test_the_log_holds_every_byte_even_when_the_script_is_killed_right_after_it(every_target, tmp_path, data):
    source = tmp_path / "data"
    source.write_bytes(data)

    status = every_target.session().run("sh", "-c", 'cat "$0"; kill -KILL $$', str(source))

    assert hashlib.sha256(status["log"]).hexdigest() == hashlib.sha256(data).hexdigest()
    assert status["signal"] == signal.SIGKILL
    assert status["last_lines"] is None or len(status["last_lines"].encode()) <= 8192


def test_both_outputs_stand_in_the_log_in_the_order_in_which_they_were_written(session):
    status = session.run("sh", "-c", "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done")

    assert status["log"].decode().split("\n")[:-1] == [f"{where} {n}" for n in range(1, 6) for where in ("out", "err")]


def test_truncating_dev_stderr_loses_nothing_of_the_log(session):
    status = session.run("bash", "-c", "echo first; echo second > /dev/stderr; echo third")

    assert status["log"] == b"first\nsecond\nthird\n"


def test_a_child_left_in_the_background_is_ended_with_the_script(every_target, tmp_path):
    pid = tmp_path / "pid"

    status = every_target.session().run("sh", "-c", 'sleep 600 & echo $! > "$0"; echo done', str(pid))

    assert (status["status"], status["log"]) == ("Completed", b"done\n")
    assert not is_alive(int(pid.read_text()))


def test_a_daemon_that_cleared_its_environment_is_gone_before_the_run_is_over(every_target, tmp_path):
    pid = tmp_path / "pid"

    status = every_target.session().run(sys.executable, "-c", ESCAPES, str(pid))

    assert status["status"] == "Completed"
    assert not is_alive(int(pid.read_text()))


def test_a_script_that_closes_its_outputs_is_waited_for(session):
    status = session.run("sh", "-c", "echo before; exec >&- 2>&-; sleep 0.2; exit 5")

    assert (status["exit_code"], status["log"]) == (5, b"before\n")
    assert status["phases"]["run"] >= 0.2


def test_a_pipe_that_somebody_outside_of_the_run_keeps_open_does_not_hold_up_its_end(session, tmp_path):
    import socket
    import threading

    path = str(tmp_path / "socket")
    kept = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(1)

        def keep() -> None:
            connection, _ = server.accept()
            with connection:
                kept.extend(socket.recv_fds(connection, 1, 1)[1])

        thread = threading.Thread(target=keep)
        thread.start()
        program = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "socket.send_fds(s, [b'x'], [1]); print('sent')"
        )
        status = session.run(sys.executable, "-c", program, path)
        thread.join()
    for descriptor in kept:
        os.close(descriptor)

    assert len(kept) == 1
    assert (status["status"], status["log"]) == ("Completed", b"sent\n")


def test_cancelling_kills_everything_that_came_of_the_script(every_target, tmp_path):
    session = every_target.session()
    pid = tmp_path / "pid"
    request = start_request(sys.executable, "-c", ESCAPES + "time.sleep(600)", str(pid))
    run = session.ask("start", **request)["run_id"]
    session.until(run, "Running")
    wait_until(lambda: session.poll(run, run_log=0)[run].data["run.log"] == b"ready\n")

    answer = session.ask("cancel", run=run, lineage=None, reason="canceled", wait_s=20)

    assert answer["status"]["status"] == "Canceled"
    assert answer["status"]["reason"] == "canceled"
    assert not is_alive(int(pid.read_text()))
    assert wait_until(lambda: not every_target.processes())


def test_what_a_cancelled_script_does_about_sigterm_is_in_the_log(session):
    body = "trap 'echo bye; exit 0' TERM; echo up; sleep 600 & wait"
    run = session.ask("start", **start_request("bash", "-c", body))["run_id"]
    wait_until(lambda: session.poll(run, run_log=0)[run].data["run.log"] == b"up\n")

    status = session.ask("cancel", run=run, lineage=None, reason="superseded", wait_s=20)["status"]

    assert (status["status"], status["reason"], status["exit_code"]) == ("Canceled", "superseded", 0)
    assert session.poll(run, run_log=0)[run].data["run.log"] == b"up\nbye\n"


def test_a_script_that_ignores_sigterm_is_killed_after_the_grace(session):
    request = start_request("bash", "-c", "trap '' TERM; echo up; while :; do sleep 600; done", grace_s=0.3)
    run = session.ask("start", **request)["run_id"]
    wait_until(lambda: session.poll(run, run_log=0)[run].data["run.log"] == b"up\n")

    status = session.ask("cancel", run=run, lineage=None, reason="canceled", wait_s=20)["status"]

    assert (status["status"], status["signal"]) == ("Canceled", signal.SIGKILL)
    assert status["phases"]["run"] >= 0.3


def test_a_script_that_stands_still_is_cancelled_too(session):
    run = session.ask("start", **start_request("sh", "-c", "echo up; kill -STOP $$; sleep 600"))["run_id"]
    wait_until(lambda: session.poll(run, run_log=0)[run].data["run.log"] == b"up\n")

    status = session.ask("cancel", run=run, lineage=None, reason="canceled", wait_s=20)["status"]

    assert (status["status"], status["signal"]) == ("Canceled", signal.SIGTERM)


def test_cancelling_ends_processes_that_hop_from_pid_to_pid(session, tmp_path):
    hopper = """
import os, sys, time
for _ in range(4):
    if os.fork() == 0:
        while True:
            if os.fork():
                os._exit(0)
            os.setsid()
            with open(sys.argv[1], "a") as file:
                file.write("x")
print("up", flush=True)
time.sleep(600)
"""
    trace = tmp_path / "trace"
    run = session.ask("start", **start_request(sys.executable, "-c", hopper, str(trace), grace_s=0.05))["run_id"]
    wait_until(lambda: trace.exists() and trace.stat().st_size > 100)

    status = session.ask("cancel", run=run, lineage=None, reason="canceled", wait_s=30)["status"]

    size = trace.stat().st_size
    assert status["status"] == "Canceled"
    assert session.run("true")["status"] == "Completed"
    assert trace.stat().st_size == size


def test_a_cancel_that_does_not_wait_is_answered_at_once_and_goes_on(session):
    body = "trap '' TERM; echo up; sleep 600 & wait; wait"
    run = session.ask("start", **start_request("sh", "-c", body, grace_s=0.5))["run_id"]
    wait_until(lambda: session.poll(run, run_log=0)[run].data["run.log"] == b"up\n")

    first = session.ask("cancel", run=run, lineage=None, reason="canceled", wait_s=0)["status"]

    assert first["status"] in ("Running", "CancelRequested")
    assert session.until(run, "CancelRequested", "Canceled")
    assert session.wait(run)["status"] == "Canceled"


def test_a_script_that_ended_by_itself_before_it_was_cancelled_keeps_its_verdict(session):
    status = session.run("true")

    answer = session.ask("cancel", run=status["run"], lineage=None, reason="canceled", wait_s=20)

    assert answer["status"]["status"] == "Completed"


def test_a_run_that_takes_too_long_is_ended(session):
    status = session.run("sleep", "600", max_run_duration_s=0.3)

    assert (status["status"], status["reason"]) == ("Failed", "timeout")
    assert "0.3 s" in status["message"]
    assert 0.3 <= status["phases"]["run"] < 10


def test_a_task_that_takes_too_long_fails_its_run(session):
    run = session.ask("start", **start_request("sleep", "600"))["run_id"]
    session.until(run, "Running")

    status = session.ask("cancel", run=run, lineage=None, reason="timeout", wait_s=20)["status"]

    assert (status["status"], status["reason"]) == ("Failed", "timeout")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["no-such-program"], "no such program on the PATH"),
        (["./not-executable"], "chmod +x"),
        (["./bad-interpreter"], "first line names"),
        (["./no-first-line"], "first line such as"),
        (["a\0b"], "embedded null"),
        (["here.sh"], "write ./here.sh"),
    ],
)
def test_a_command_that_cannot_be_executed_says_why(session, command, words):
    files = {"not-executable": b"x", "bad-interpreter": b"#!/no\n", "no-first-line": b"\0\0", "here.sh": b"#!/bin/sh"}
    snapshot = _snapshot(session, {name: (data, name != "not-executable") for name, data in files.items()})

    status = session.wait(session.ask("start", **start_request(*command, snapshot=snapshot))["run_id"])

    assert (status["status"], status["reason"]) == ("Failed", "launch")
    assert words in status["message"]


def _snapshot(session, files: dict[str, tuple[bytes, bool]]) -> str:
    """Send a snapshot of these (content, executable) files; return its id."""
    from airflow_provider.scriptrun.supervisor.protocol import manifest, ranges

    entries = [
        manifest.Entry(name.encode(), "x" if executable else "f", len(data), hashlib.sha256(data).hexdigest().encode())
        for name, (data, executable) in files.items()
    ]
    document = manifest.encode(entries)
    snapshot = manifest.snapshot_id(document)
    session.writer.json({"op": "offer", "snapshot": snapshot})
    session.writer.data(document)
    session.writer.end()
    session.writer.flush()
    missing = session.receive()["missing"]
    blobs = list(manifest.blobs_of(manifest.decode(document)))
    contents = {hashlib.sha256(data).hexdigest(): data for data, _ in files.values()}
    session.writer.json({"op": "send", "snapshot": snapshot, "blobs": missing})
    session.writer.data(b"".join(contents[blobs[number]] for number in ranges.decode(missing, len(blobs))))
    session.writer.end()
    session.writer.flush()
    assert session.receive()["complete"]
    return snapshot


def test_the_script_finds_its_files_in_a_copy_of_its_own(session):
    snapshot = _snapshot(session, {"train.py": (b"import helper", False), "helper.py": (b"print('hello')", False)})

    first = session.run("python", "train.py", snapshot=snapshot)
    second = session.run("sh", "-c", "rm *.py; ls", snapshot=snapshot)
    third = session.run("ls", snapshot=snapshot)

    assert first["log"] == b"hello\n"
    assert second["log"].split() == [b"inputs", b"logs", b"outputs"]
    assert third["log"].split() == [b"helper.py", b"inputs", b"logs", b"outputs", b"train.py"]


def test_a_missing_snapshot_is_asked_for_and_nothing_is_made(session, target):
    request = start_request("true", snapshot="0" * 64)

    assert session.ask("start", **request) == {
        "outcome": "missing",
        "snapshots": ["0" * 64],
        "base": None,
        "tools": [],
    }
    assert session.ask("status", runs=[request["run"]["id"]]) == {"runs": {}}


def test_preparing_ahead_of_time_runs_nothing(session, target):
    answer = session.ask("start", **start_request())
    status = session.wait(answer["run_id"])

    assert (status["status"], status["exit_code"]) == ("Completed", None)
    assert not os.path.exists(target.run(answer["run_id"]).begun)
    assert status["environment"]["python"]


def test_an_environment_that_cannot_be_prepared_is_the_reason(session):
    environment = {"kind": "user_managed", "schema": 1, "interpreter": "/no/such/python", "delivery": {}}

    status = session.wait(session.ask("start", **start_request("true", environment=environment))["run_id"])

    assert (status["status"], status["reason"]) == ("Failed", "environment")
    assert "/no/such/python" in status["message"]


def test_a_process_with_the_files_of_the_run_is_told_where_everything_is(session, target):
    request = start_request(
        sys.executable,
        "-c",
        "import json, os, sys; json.dump([dict(os.environ), os.getcwd(), sys.stdin.read()], sys.stdout)",
        context={"inputs": {"a": 1}},
    )
    run = target.run(session.ask("start", **request)["run_id"])
    session.wait(run.id)
    variables, folder, standard_input = json.loads(Path(run.run_log).read_bytes())

    assert (folder, standard_input) == (run.code, "")
    assert variables["SCRIPTRUN_RUN_ID"] == run.id
    assert variables["SCRIPTRUN_EXPERIMENT"] == "e"
    assert variables["SCRIPTRUN_OUTPUTS"] == os.path.join(folder, "outputs")
    assert variables["SCRIPTRUN_LOGS"] == os.path.join(folder, "logs")
    assert variables["SCRIPTRUN_MESSAGES"] == run.messages
    assert variables["PYTHONUNBUFFERED"] == "1"
    assert os.path.isdir(variables["SCRIPTRUN_CHECKPOINTS"])
    assert json.loads(Path(variables["SCRIPTRUN_CONTEXT"]).read_text()) == {"inputs": {"a": 1}}
    for name in ("OUTPUTS", "LOGS"):
        assert os.path.isdir(variables[f"SCRIPTRUN_{name}"])


def test_signals_and_descriptors_reach_the_script_as_a_login_shell_has_them(session):
    program = (
        "import os; lines = open('/proc/self/status').read().split('\\n');"
        "print(*[l for l in lines if l[:6] in ('SigBlk', 'SigIgn', 'SigCgt')], sorted(os.listdir('/proc/self/fd')))"
    )
    status = session.run("/usr/bin/env", "-i", sys.executable, "-I", "-S", "-c", program)

    # SIGPIPE and SIGXFSZ are ignored, SIGINT is caught, by the Python that looks.
    assert b"SigBlk:\t0000000000000000" in status["log"]
    # 32 and 33 belong to the C library, which lets nobody reset what a parent ignored (signal(7)).
    ignored = int(re.search(rb"SigIgn:\t(\w+)", status["log"])[1], 16)
    assert ignored & ~(0b11 << 31) == 0x01001000
    assert b"['0', '1', '2', '3']" in status["log"]
