"""A session: what it refuses, what it survives, and how little it loads before its first answer."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from airflow_provider.scriptrun.supervisor import serve
from airflow_provider.scriptrun.supervisor.housekeeping import leftovers
from airflow_provider.scriptrun.supervisor.layout import Layout, check_run_id, check_sha256
from airflow_provider.scriptrun.supervisor.protocol import frames
from airflow_provider.scriptrun.supervisor.refusal import Refusal
from tests.supervisor.session import opened, start_request

#: Each costs milliseconds, and none is needed to answer.
HEAVY = {
    "argparse", "asyncio", "dataclasses", "inspect", "logging", "pathlib", "shutil", "socket", "subprocess",
    "tempfile", "threading", "traceback",
}  # fmt: skip


def test_hello_says_what_the_target_is(session, target):
    answer = session.ask("hello")

    assert answer["version"] == target.home.name
    assert answer["protocol"] == 1
    assert answer["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert answer["python"]["executable"] == sys.executable
    assert answer["platform"]["machine"] == os.uname().machine
    assert answer["root"] == str(target.root)
    assert answer["host"]["id"]
    assert answer["host"]["name"] == os.uname().nodename
    assert answer["free_bytes"] > 0
    assert set(answer["tools"]) == {"uv", "conda", "micromamba", "mamba", "docker"}


def test_a_session_that_lasts_says_now_and_then_that_its_version_is_in_use(tmp_path, supervisor_home):
    home = tmp_path / "supervisor" / "1-test"
    shutil.copytree(supervisor_home, home)
    with opened(tmp_path / "root", home) as target:
        session = target.session()
        os.utime(home, (1, 1))
        session.ask("hello")
        assert os.stat(home).st_mtime > 1
        os.utime(home, (1, 1))
        session.ask("hello")  # at once: it is not marked for each request
        assert os.stat(home).st_mtime == 1
    channel = serve.Channel(None, frames.FrameWriter(io.BytesIO()), Layout(str(tmp_path / "another")))
    serve.answer({"op": "hello"}, channel)
    assert 0 < channel.next_mark - time.monotonic() <= serve.MARK_PAUSE_S < leftovers.SUPERVISOR_KEEP_S


def test_the_root_belongs_to_its_user_alone(session, target):
    session.ask("hello")

    assert os.stat(target.root).st_mode & 0o777 == 0o700


def test_a_root_that_others_could_read_is_closed_to_them(target):
    target.root.mkdir(mode=0o755)
    target.session().ask("hello")

    assert os.stat(target.root).st_mode & 0o777 == 0o700


@pytest.mark.parametrize("operation", ["no such thing", None, 7, ["hello"], "__init__"])
def test_an_unknown_operation_is_refused_and_the_session_goes_on(session, operation):
    session.writer.json({"op": operation})
    session.writer.flush()

    assert session.receive()["error"]["code"] == "bad_request"
    assert session.ask("hello")["protocol"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"run": None},
        {"run": {"id": "../up", "lineage": "l", "experiment": "e"}},
        {"run": {"id": "fine", "lineage": "", "experiment": "e"}},
        {"run": {"id": "fine", "lineage": 4, "experiment": "e"}},
        {"attempt": {}},
        {"attempt": {"try_number": True, "max_tries": 1, "clear_number": 0, "delivered": False}},
        {"snapshot": "../../etc/passwd"},
        {"launch": {"argv": "true"}},
        {"launch": {"argv": ["true", 1]}},
        {"launch": {"argv": ["true"], "variables": {"A=B": "c"}}},
        {"limits": {"grace_s": -1}},
        {"limits": {"grace_s": "soon"}},
        {"limits": {"max_runs": float("inf")}},
        {"context": []},
    ],
    ids=lambda change: json.dumps(change)[:60],
)
def test_a_malformed_start_is_refused_and_makes_nothing(session, target, change):
    answer = session.ask("start", **{**start_request("true"), **change})

    assert answer["error"]["code"] == "bad_request"
    assert answer["error"]["message"]
    assert os.listdir(target.layout.runs) == []


@pytest.mark.parametrize(
    "request_",
    [
        {"op": "cancel", "run": "../x", "wait_s": 0},
        {"op": "cancel", "run": "x", "reason": "because", "wait_s": 0},
        {"op": "cancel", "wait_s": 0},
        {"op": "poll", "runs": [{"id": "a/b"}]},
        {"op": "poll", "runs": [{}]},
        {"op": "status", "runs": [".."]},
        {"op": "status", "lineage": ""},
    ],
    ids=str,
)
def test_a_malformed_request_is_refused(session, request_):
    session.writer.json(request_)
    session.writer.flush()

    assert session.receive()["error"]["code"] == "bad_request"
    assert session.ask("hello")["protocol"] == 1


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"J\xff\xff\xff\xff", b"J\0\0\0\x02[]", b"J\0\0\0\x09"])
def test_what_is_no_frame_ends_the_session_with_a_word_on_stderr(target, garbage):
    command = [target.python, "-I", "-S", "-E", str(target.home), "serve", "--root", str(target.root)]

    ended = subprocess.run(command, input=garbage, capture_output=True, check=False)

    assert ended.returncode == 1
    assert ended.stdout == frames.MARKER
    assert ended.stderr.startswith(b"the session ended: ")


def test_a_wrong_command_line_says_how_it_is_used(target):
    ended = subprocess.run([target.python, str(target.home), "serve"], capture_output=True, check=False)

    assert ended.returncode == 2
    assert b"usage: serve --root FOLDER" in ended.stderr


@pytest.mark.parametrize("operation", ["hello", "poll", "start"])
def test_a_session_loads_nothing_heavy_before_it_answers(target, operation):
    request = {**start_request("true"), "op": operation, "runs": []}
    program = (
        "import sys, os; sys.path.insert(0, sys.argv[1]); from scriptrun_supervisor import serve\n"
        "exit = os._exit\n"
        "os._exit = lambda code: (sys.stderr.write(' '.join(sys.modules)), sys.stderr.flush(), exit(code))\n"
        "serve.main(['serve', '--root', sys.argv[2]])"
    )
    payload = json.dumps(request).encode()
    frame = struct.pack(">cI", b"J", len(payload)) + payload
    command = [target.python, "-I", "-S", "-E", "-c", program, str(target.home), str(target.root)]
    ended = subprocess.run(command, input=frame, capture_output=True, check=True)

    loaded = set(ended.stderr.decode().split())
    assert "scriptrun_supervisor.serve" in loaded
    assert loaded & HEAVY == set()
    assert operation == "start" or "typing" not in loaded


@pytest.mark.parametrize("run_id", ["a", "A-1_b.c", "0" * 128])
def test_an_ordinary_run_id_is_taken(run_id):
    assert check_run_id(run_id) == run_id


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", ".a", "-a", "_a", "a/b", "a b", "a\n", "a\0", "é", "0" * 129, None, 1, b"a"]
)
def test_what_is_no_run_id_never_becomes_a_path(run_id):
    with pytest.raises(Refusal) as refused:
        Layout("/root").run(run_id)
    assert refused.value.code == "bad_request"


@pytest.mark.parametrize("name", ["", "0" * 63, "0" * 65, "0" * 63 + "/", "A" * 64, "0" * 63 + "\n", None, "g" * 64])
def test_what_is_no_sha256_never_becomes_a_path(name):
    for path in (Layout("/root").blob, Layout("/root").snapshot, Layout("/root").environment, check_sha256):
        with pytest.raises(Refusal):
            path(name)


def test_any_text_can_name_a_lineage():
    layout = Layout("/root")

    paths = {layout.lineage(name) for name in ("a", "../a", "é", "\udc80", "a\0b", "x" * 10_000)}

    assert len(paths) == 6
    assert all(Path(path).parent == Path(layout.lineages) for path in paths)
