from __future__ import annotations

import contextlib
import copy
import json
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider.scriptrun.errors import (
    OtherHostError,
    ProtocolError,
    TargetError,
    TargetRefusedError,
    UnknownRunError,
)
from airflow_provider.scriptrun.supervisor.protocol import ranges
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets import parse

STATUS = {
    "serial": 7,
    "status": "Failed",
    "reason": "script",
    "message": "It ended.",
    "exit_code": 3,
    "signal": None,
    "created_at": "2026-11-23T22:00:00.123Z",
    "started_at": "2026-11-23T22:00:01.000Z",
    "ended_at": None,
    "phases": {"queue": 0, "run": 1.5},
    "environment": {
        "id": "a" * 64,
        "kind": "pip",
        "reused": True,
        "interpreter": "/env/bin/python",
        "python": "3.11.7",
        "packages": 4,
    },
    "command": ["python", "main.py"],
    "host": {"id": "machine", "boot_id": "boot", "name": "vm"},
    "supervisor": "0.1.0-abcdefabcdef",
    "last_lines": "oh\n",
    "attempt": {"try_number": 2, "max_tries": 3, "clear_number": 0, "delivered": False},
    "a later field": [1, 2, 3],
}
HELLO = {
    "version": "0.1.0-abcdefabcdef",
    "protocol": 1,
    "python": {"executable": "/usr/bin/python3", "version": "3.11.7", "implementation": "cpython"},
    "platform": {"system": "Linux", "machine": "x86_64", "libc": "glibc 2.36"},
    "host": {"id": "machine", "boot_id": "boot", "name": "vm"},
    "root": "/home/u/.scriptrun",
    "user": "u",
    "tools": {"uv": "/usr/bin/uv", "conda": None},
    "free_bytes": 5_000_000_000,
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


def test_a_status_is_read_with_its_types():
    status = parse.run_status(STATUS, "run")
    assert (status.serial, status.status, status.reason, status.exit_code) == (7, Status.FAILED, Reason.SCRIPT, 3)
    assert status.created_at == datetime(2026, 11, 23, 22, 0, 0, 123_000, tzinfo=timezone.utc)
    assert status.environment.packages == 4
    assert status.attempt.try_number == 2
    assert status.command == ("python", "main.py")
    assert status.document["a later field"] == [1, 2, 3]


def test_requirements_that_cannot_be_resolved_are_told_apart():
    document = {**STATUS, "environment": {"resolution": True}}
    status = parse.run_status(document, "run")
    assert (status.environment, status.is_unresolvable) == (None, True)
    assert not parse.run_status(STATUS, "run").is_unresolvable


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["serial"], -1),
        (["serial"], True),
        (["serial"], "7"),
        (["serial"], 1 << 63),
        (["status"], "Done"),
        (["status"], None),
        (["reason"], "bad luck"),
        (["message"], 5),
        (["message"], "x" * (parse.MAX_MESSAGE_CHARACTERS + 1)),
        (["exit_code"], 1.5),
        (["signal"], -9),
        (["created_at"], "yesterday"),
        (["created_at"], 5),
        (["phases"], []),
        (["phases", "run"], float("nan")),
        (["phases", "run"], "1"),
        (["environment", "reused"], "yes"),
        (["environment", "interpreter"], None),
        (["command"], "python main.py"),
        (["command", 0], 5),
        (["host", "id"], None),
        (["attempt", "try_number"], "1"),
    ],
    ids=str,
)
def test_a_wrong_field_is_refused_by_name(path, value):
    document = copy.deepcopy(STATUS)
    inner = document
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    name = next(part for part in reversed(path) if isinstance(part, str))
    with pytest.raises(ProtocolError, match=name):
        parse.run_status(document, "run")


@pytest.mark.parametrize("document", [None, [], "x", 5, {}, {"status": "Running"}])
def test_what_is_no_status_is_refused(document):
    with pytest.raises(ProtocolError, match="status of run r1"):
        parse.run_status(document, "r1")


@given(st.sampled_from(sorted(STATUS)), ANYTHING)
def test_no_field_of_a_status_raises_anything_but_a_protocol_error(name, value):
    try:
        status = parse.run_status({**STATUS, name: value}, "run")
    except ProtocolError:
        return
    assert isinstance(status.status, Status)


@given(ANYTHING)
def test_no_answer_raises_anything_but_a_protocol_error(document):
    for read in (
        parse.target_facts,
        lambda value: parse.missing(value, 10),
        parse.counts,
        lambda value: parse.started(value, "run"),
        lambda value: parse.streams(value, "run"),
        lambda value: parse.remote_files(value, "run"),
        lambda value: parse.target_error(value, "about"),
    ):
        with contextlib.suppress(ProtocolError):
            read(document)


def test_facts_are_readable():
    facts = parse.target_facts(HELLO)
    assert str(facts) == (
        "vm: Linux x86_64, glibc 2.36\n"
        "cpython 3.11.7 (/usr/bin/python3), as u\n"
        "root /home/u/.scriptrun, 5.0 GB free\n"
        "uv (/usr/bin/uv)"
    )


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "outputs/../../x", "outputs//x", "a/./b", "a\0b", "x" * 5000, 5]
)
def test_a_path_that_leaves_the_runs_folder_is_refused(path):
    document = {"files": [{"path": path, "size": 1, "sha256": "0" * 64}]}
    with pytest.raises(ProtocolError, match="path"):
        parse.remote_files(document, "run")


@given(st.sets(st.integers(0, 40)))
def test_what_is_missing_is_told_in_ranges(numbers):
    document = {"missing": ranges.encode(sorted(numbers))}
    assert parse.missing(document, 41) == sorted(numbers)
    assert len(document["missing"]) == sum(number - 1 not in numbers for number in numbers)
    for total in range(max(numbers, default=-1) + 1):
        with pytest.raises(ProtocolError):
            parse.missing(document, total)


@given(ANYTHING)
def test_ranges_that_are_none_are_refused(document):
    if document is None:
        assert parse.missing({"missing": None}, 10) is None
        return
    try:
        numbers = parse.missing({"missing": document}, 10)
    except ProtocolError:
        return
    assert ranges.encode(numbers) == document


def test_a_base_that_cannot_be_used_is_not_taken_for_nothing_missing():
    assert parse.missing({"missing": None}, 10) is None
    with pytest.raises(ProtocolError):
        parse.missing({}, 10)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("no_such_run", UnknownRunError),
        ("not_here", OtherHostError),
        ("no_space", TargetRefusedError),
        ("read_only", TargetRefusedError),
        ("internal", TargetRefusedError),
        ("a later code", TargetRefusedError),
    ],
)
def test_an_error_of_the_target_keeps_its_words(code, kind):
    error = parse.target_error({"code": code, "message": "what, where, why", "advice": "do this"}, "host: no")
    assert type(error) is kind
    assert isinstance(error, TargetError)
    assert str(error) == "host: no. what, where, why. do this."


def test_what_was_wrong_is_quoted_in_bounds():
    with pytest.raises(ProtocolError) as caught:
        parse.run_status({**STATUS, "status": "x" * 1_000_000}, "run")
    assert len(str(caught.value)) < 1000
    assert json.dumps(str(caught.value))
