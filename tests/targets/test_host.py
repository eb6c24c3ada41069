from __future__ import annotations

import hashlib

import pytest

from airflow_provider.scriptrun.errors import ProtocolError, TargetUnreachableError
from airflow_provider.scriptrun.targets.archive import supervisor_archive
from airflow_provider.scriptrun.targets.contract import Cursor, Limits, StartRequest, Stream
from airflow_provider.scriptrun.targets.host import HostTarget
from tests.conformance.tree import Tree
from tests.targets.fakes import ScriptedProcess, ScriptedTransport, said
from tests.targets.test_parse import HELLO, STATUS

RUNNING = {**STATUS, "status": "Running", "reason": None}
END = {"end": True}


def target(*processes: ScriptedProcess, **values) -> tuple[HostTarget, ScriptedTransport]:
    """Return a target over a transport that gives these processes."""
    transport = ScriptedTransport(*processes)
    return HostTarget(transport, name="vm", root="~/.scriptrun", interpreter="python3", **values), transport


def answering(*parts, **values) -> ScriptedProcess:
    """Return a supervisor that says these parts."""
    return ScriptedProcess(said(*parts), hangs=True, **values)


def head(length: int, offset: int = 0, size: int | None = None) -> dict:
    """Return the head of a poll's answer with one stream."""
    part = {"offset": offset, "length": length, "size": length if size is None else size}
    return {"run": "r", "status": RUNNING, "streams": {"run.log": part}}


def cursor(offset: int = 0) -> Cursor:
    return Cursor("r", offsets={Stream.RUN_LOG: offset})


def test_the_supervisor_is_started_by_arguments_without_a_shell():
    ours, transport = target(answering(HELLO))
    ours.check()
    version = supervisor_archive().version
    assert transport.commands == [
        ["python3", "-I", "-S", "-E", f"~/.scriptrun/supervisor/{version}", "serve", "--root", "~/.scriptrun"]
    ]


def test_an_unchanged_submission_is_one_command():
    accepted = {"outcome": "accepted", "run_id": "r", "status": RUNNING, "joined": False, "previous": []}
    ours, transport = target(answering(accepted))
    started = ours.start(StartRequest("r", "lineage", "experiment", limits=Limits()))
    assert (started.run_id, len(transport.commands)) == ("r", 1)
    assert ours.handle(started, "lineage").host_id == "machine"


def test_a_session_is_used_again():
    ours, transport = target(answering(HELLO, END, HELLO))
    ours.check()
    ours.poll([cursor()], wait_s=0)
    ours.check()
    assert len(transport.commands) == 1


def test_a_session_that_broke_is_replaced_once_without_a_word():
    ours, transport = target(ScriptedProcess(said(HELLO)), answering(HELLO))
    assert ours.check() == ours.check()
    assert len(transport.commands) == 2


def test_a_session_that_breaks_twice_is_told():
    ours, _ = target(ScriptedProcess(said()), ScriptedProcess(said()))
    with pytest.raises(TargetUnreachableError, match="ended in the middle"):
        ours.check()


def test_a_target_that_hangs_is_not_asked_again_behind_the_callers_back():
    process = answering()
    ours, transport = target(process)
    with pytest.raises(TargetUnreachableError, match="did not answer"):
        ours.check()
    assert len(transport.commands) == 1
    assert process.closed


def test_variables_of_the_connection_reach_every_run_and_its_own_win():
    accepted = {"outcome": "accepted", "run_id": "r", "status": RUNNING}
    process = answering(accepted)
    ours, _ = target(process, variables={"A": "connection", "B": "connection"})
    ours.start(StartRequest("r", "l", "e", variables={"B": "run"}))
    assert b'"variables":{"A":"connection","B":"run"}' in process.written


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([{**head(0), "run": "another"}], "nobody asked about"),
        ([{**head(0), "run": None}], "nobody asked about"),
        ([head(2, offset=1), b"ab", None], "not asked for"),
        ([head(2000)], "not asked for"),
        ([head(2), b"abc", None], "more bytes than it announced"),
        ([head(2), b"a", None], "1 bytes of run.log came where 2"),
        ([{**head(0), "streams": {"secrets": {"offset": 0, "length": 0, "size": 0}}}], "secrets"),
        ([{**head(0), "streams": {"build.log": {"offset": 0, "length": 0, "size": 0}}}], "not asked for"),
        ([{**head(0), "status": {"status": "Fine"}}], "serial"),
        ([head(-1)], "length"),
    ],
)
def test_a_poll_that_is_answered_wrongly_is_refused_and_its_session_given_up(parts, message):
    process = answering(*parts, END)
    ours, transport = target(process, answering(HELLO))
    with pytest.raises(ProtocolError, match=message):
        ours.poll([cursor()], wait_s=0, max_bytes=1000)
    assert process.closed
    ours.check()
    assert len(transport.commands) == 2


def test_a_poll_brings_what_was_announced():
    ours, _ = target(answering(head(3, offset=5, size=9), b"ab", b"c", None, END))
    (news,) = ours.poll([cursor(5)], wait_s=0)
    assert news.data(Stream.RUN_LOG) == b"abc"
    assert cursor(5).after(news).offsets == {Stream.RUN_LOG: 8}
    assert not news.parts[0].is_whole


def fetched(content: bytes, *, announced: bytes | None = None, size: int | None = None, path: str = "outputs/a"):
    """Return the parts of an answer with one file."""
    told = content if announced is None else announced
    tail = {"path": path, "bytes": len(told), "sha256": hashlib.sha256(told).hexdigest()}
    begin = {"path": path, "offset": 0, "size": len(content) if size is None else size}
    return [begin, content, None, tail] if content else [begin, None, tail]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (fetched(b"abc", announced=b"abd"), "did not arrive as the target sent it"),
        (fetched(b"abc", size=2), "more bytes than it announced"),
        (fetched(b"abc", size=4), "shrank"),
        (fetched(b"abc", path="outputs/b"), "was asked for"),
    ],
)
def test_a_file_that_is_sent_wrongly_is_refused(parts, message):
    process = answering(*parts, END)
    ours, _ = target(process)
    with pytest.raises(ProtocolError, match=message):
        b"".join(chunk for file in ours.fetch("r", ["outputs/a"]) for chunk in file.chunks)
    assert process.closed


def test_files_come_in_the_order_in_which_they_were_asked_for():
    parts = [*fetched(b"abc"), *fetched(b"", path="outputs/b")]
    ours, transport = target(answering(*parts, END, HELLO))
    found = [(file.path, b"".join(file.chunks)) for file in ours.fetch("r", ["outputs/a", "outputs/b"])]
    assert found == [("outputs/a", b"abc"), ("outputs/b", b"")]
    ours.check()
    assert len(transport.commands) == 1


def test_a_list_may_come_in_several_frames():
    file = {"path": "outputs/a", "size": 1, "sha256": "0" * 64, "executable": False}
    first, second = {"files": [file], "more": True}, {"files": [{**file, "path": "outputs/b"}], "count": 2}
    ours, _ = target(answering(first, second))
    assert [found.path for found in ours.files("r")] == ["outputs/a", "outputs/b"]


@pytest.mark.parametrize("missing", [[[0, 2]], [[1, 1]], [[-1, 1]], [["0", 1]], [[0, 1], [0, 1]], ["f" * 64], "all", 7])
def test_a_target_that_asks_for_blobs_of_no_snapshot_gets_none(missing):
    tree = Tree({"a": "content"})
    ours, _ = target(answering({"missing": missing}))
    with pytest.raises(ProtocolError, match="cannot be used"):
        ours.send(tree)
    assert tree.opened == []


def test_a_target_that_wants_a_whole_manifest_whole_once_more_is_refused():
    ours, _ = target(answering({"missing": None}))
    with pytest.raises(ProtocolError, match="does not say what it lacks"):
        ours.send(Tree({"a": "content"}))


def test_a_base_that_nobody_named_is_refused():
    ours, _ = target(answering({"outcome": "missing", "snapshots": ["a" * 64], "base": "b" * 64}))
    with pytest.raises(ProtocolError, match="which nobody named"):
        ours.start(StartRequest("r", "lineage", "experiment", snapshot_id="a" * 64, bases=("c" * 64,)))


@pytest.mark.parametrize("snapshots", [None, [], "a" * 64, ["a"], [1]])
def test_a_start_that_lacks_something_that_has_no_name_is_refused(snapshots):
    ours, _ = target(answering({"outcome": "missing", "snapshots": snapshots}))
    with pytest.raises(ProtocolError, match="snapshots"):
        ours.start(StartRequest("r", "lineage", "experiment", snapshot_id="a" * 64))


def test_another_protocol_is_named():
    ours, _ = target(answering({**HELLO, "protocol": 99}))
    with pytest.raises(ProtocolError, match=r"speaks protocol 99.*this release speaks 1"):
        ours.check()


def test_closing_ends_what_other_threads_wait_for_and_is_safe_to_repeat():
    process = answering(HELLO)
    ours, transport = target(process)
    ours.check()
    ours.close()
    ours.close()
    assert process.closed
    assert transport.closed
    with pytest.raises(TargetUnreachableError, match="vm was closed"):
        ours.check()
