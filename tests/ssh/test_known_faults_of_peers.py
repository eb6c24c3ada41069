"""What other ways to run a script over SSH lose, repeat or take for success comes whole here."""

from __future__ import annotations

import hashlib
import uuid

import pytest

from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from tests.conformance.client import Client
from tests.network.processes import Process

pytestmark = pytest.mark.needs("sshd")

MEGABYTE = 1024 * 1024
#: A long poll and a short one: each ends somewhere in the middle of a character.
PIECES = (1, 2, 3, 5, 4096)


@pytest.fixture
def client(worker, server):
    with worker.client(server.connection()) as client:
        yield client


def shell(text: str) -> dict[str, object]:
    return {"files": {"main.sh": text}, "argv": ("bash", "main.sh")}


def test_every_line_of_a_command_of_several_lines_is_run_and_shown(client):
    text = "echo one\necho two >&2\n\nfor n in 3 4; do\n  echo $n\ndone\ncat <<END\nfive\nEND\n"
    followed = client.finish(**shell(text))
    assert (followed.log, followed.end.status) == (b"one\ntwo\n3\n4\nfive\n", Status.COMPLETED)


@pytest.mark.parametrize("code", [1, 3, 126, 127, 255])
def test_an_exit_code_is_the_scripts_own(client, code):
    followed = client.finish(**shell(f"echo before; exit {code}"))
    assert (followed.end.status, followed.end.exit_code) == (Status.FAILED, code)
    assert followed.log == b"before\n"


def test_set_e_ends_the_script_at_the_first_failure_and_the_failure_is_seen(client):
    followed = client.finish(**shell("set -e\necho before\nfalse\necho after\n"))
    assert (followed.end.status, followed.end.exit_code, followed.log) == (Status.FAILED, 1, b"before\n")


def test_a_failure_in_a_pipeline_is_seen_where_the_script_asks_for_it(client):
    followed = client.finish(**shell("set -o pipefail\n(echo out; exit 4) | cat\n"))
    assert (followed.end.exit_code, followed.log) == (4, b"out\n")


def test_five_megabytes_right_before_the_end_come_whole(client):
    text = f"import os\nos.write(1, b'start\\n')\nos.system('head -c {5 * MEGABYTE} /dev/zero')\nos._exit(3)"
    followed = client.finish(text)
    assert (followed.end.exit_code, len(followed.log)) == (3, 6 + 5 * MEGABYTE)
    expected = hashlib.sha256(b"start\n" + bytes(5 * MEGABYTE)).digest()
    assert hashlib.sha256(followed.log).digest() == expected


def test_characters_of_every_length_are_whole_at_every_edge_of_a_chunk(client):
    text = "a\u00fc\u20ac\U0001f600" * 40
    started = client.start(f"import sys\nsys.stdout.buffer.write({text.encode()!r})")
    client.follow(started.run_id)
    for piece in PIECES:
        assert client.follow(started.run_id, max_bytes=piece).log.decode() == text


def test_the_task_log_is_valid_whatever_the_edges_of_the_chunks(worker, server, capfd):
    worker.connect(server.connection())
    script = (
        "import os, time\n"
        "for byte in 'gr\u00fc\u00dfe \u20ac \U0001f600\\n'.encode() * 20:\n"
        "    os.write(1, bytes([byte]))\n"
    )
    worker.submit({"main.py": script}).wait_for_completion(show_output=True)
    shown = capfd.readouterr().out
    assert shown.count("gr\u00fc\u00dfe \u20ac \U0001f600\n") == 20
    assert "\ufffd" not in shown


def test_a_single_line_of_five_megabytes_comes_whole(client):
    followed = client.finish(f"print('x' * {5 * MEGABYTE})")
    assert (len(followed.log), set(followed.log)) == (5 * MEGABYTE + 1, {ord("x"), ord("\n")})


def test_a_progress_bar_of_carriage_returns_comes_byte_by_byte_and_is_shown_once(worker, server, capfd):
    worker.connect(server.connection())
    script = "import sys\nfor n in range(101): sys.stdout.write(f'\\r{n}%')\nprint('\\nready')"
    run = worker.submit({"main.py": script})
    run.wait_for_completion(show_output=True)
    whole = "".join(f"\r{n}%" for n in range(101)) + "\nready\n"
    (log,) = [path for path in run.get_all_logs(worker.folder / "logs") if path.name == "run.log"]
    assert log.read_bytes().decode() == whole
    shown = capfd.readouterr().out
    assert shown.endswith("ready\n")
    assert shown.count("100%") == 1


def test_a_last_line_without_an_end_comes(client):
    assert client.finish(**shell("printf 'no end'")).log == b"no end"


def test_a_script_that_prints_nothing_ends_well(client):
    followed = client.finish(**shell("true"))
    assert (followed.log, followed.end.status) == (b"", Status.COMPLETED)


def test_standard_input_is_empty_and_nothing_waits_for_it(client):
    assert client.finish(**shell("cat; read line || echo closed")).log == b"closed\n"


LEAVES_CHILDREN = """
import os, subprocess, sys, time
mark = sys.argv[1]
subprocess.Popen(["sh", "-c", f"sleep 3000 # {mark}"])                       # a child
subprocess.Popen(["setsid", "sh", "-c", f"sleep 3001; true # {mark}"])       # in a session of its own
subprocess.run(["nohup", "sh", "-c", f"(sh -c 'sleep 3002; true # {mark}' &)"])  # a grandchild that nobody waits for
if os.fork() == 0:                                                             # a double fork, with closed streams
    os.setsid()
    if os.fork() == 0:
        for number in range(3): os.close(number)
        os.execvp("sh", ["sh", "-c", f"sleep 3003; true # {mark}"])
    os._exit(0)
os.wait()
print("left", flush=True)
"""


def processes_with(server, mark: str) -> list[Process]:
    from tests.network import processes

    return processes.naming(mark, server.host.user_id)


def test_children_that_a_script_leaves_behind_are_ended_with_it(client, server):
    mark = uuid.uuid4().hex
    followed = client.finish(LEAVES_CHILDREN, argv=("python", "main.py", mark))
    assert (followed.end.status, followed.log) == (Status.COMPLETED, b"left\n")
    assert processes_with(server, mark) == []


def test_children_in_sessions_of_their_own_die_with_a_cancel(client, server):
    mark = uuid.uuid4().hex
    started = client.start(LEAVES_CHILDREN + "time.sleep(3004)", argv=("python", "main.py", mark))
    client.wait_for(started.run_id, "left\n")
    assert len(processes_with(server, mark)) >= 5
    status = client.target.cancel(started.run_id)
    assert (status.status, status.reason) == (Status.CANCELED, Reason.CANCELED)
    assert processes_with(server, mark) == []


def test_a_client_that_hangs_up_ends_nothing(worker, server):
    with worker.open(server.connection()) as target:
        client = Client(target)
        started = client.start(**shell("echo begun; sleep 1; echo over"))
        client.wait_for(started.run_id, "begun\n")
    server.kill_connections()
    with worker.client(server.connection()) as client:
        assert client.follow(started.run_id).log == b"begun\nover\n"
