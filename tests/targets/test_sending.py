"""What a worker sends, seen from the wire: to a supervisor of this host, over a transport that counts and breaks."""

from __future__ import annotations

import random
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

from airflow_provider.scriptrun.errors import SnapshotChangedError, TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.targets import sending
from airflow_provider.scriptrun.targets.contract import Outcome, Sent, StartRequest
from airflow_provider.scriptrun.targets.host import HostTarget
from airflow_provider.scriptrun.targets.transports.local import LocalTransport
from tests.conformance.client import Client
from tests.conformance.tree import Program, Tree
from tests.targets.fakes import ScriptedProcess, ScriptedTransport, said
from tests.targets.test_parse import STATUS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = b"".join(b"value_%d = compute(%d)\n" % (n, n * 7) for n in range(20_000))
ACCEPTED = {"outcome": "accepted", "run_id": "r", "status": {**STATUS, "status": "Running", "reason": None}}
REQUEST = StartRequest("r", "lineage", "experiment", snapshot_id="0" * 64)


class Link:
    """A local transport that counts what is written, and how often that is waited for; breaks when told to.

    :ivar breaks_after: so many bytes of the next ``send`` go through.
    :ivar breaks_always: of those behind it none do.
    :ivar breaks_next: only half of what is written next goes through.
    :ivar on_open: called before a command is started.
    """

    def __init__(self) -> None:
        self._transport = LocalTransport()
        self.name = self._transport.name
        self.breaks_after: int | None = None
        self.breaks_always = self.breaks_next = False
        self.written = self.flights = 0
        self.on_open = lambda: None

    def open(self, argv):
        self.on_open()
        return _Process(self, self._transport.open(argv))

    def close(self) -> None:
        self._transport.close()


class _Process:
    def __init__(self, link: Link, process) -> None:
        self._link, self._process = link, process
        self._left: int | None = None
        self._is_writing = False

    def write(self, data: bytes, timeout_s: float) -> None:
        if self._left is None and self._link.breaks_after is not None and b'"op":"send"' in data:
            self._left, self._link.breaks_after = self._link.breaks_after, 0 if self._link.breaks_always else None
        if self._link.breaks_next:
            self._left, self._link.breaks_next = len(data) // 2, False
        if self._left is not None:
            self._process.write(data[: self._left], timeout_s)
            self._left -= len(data)
            if self._left <= 0:
                raise ConnectionResetError("the test broke it")
        else:
            self._process.write(data, timeout_s)
        self._link.written += len(data)
        self._is_writing = True

    def read(self, size: int, timeout_s: float) -> bytes:
        self._link.flights += self._is_writing
        self._is_writing = False
        return self._process.read(size, timeout_s)

    def __getattr__(self, name: str):
        return getattr(self._process, name)


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
def target(tmp_path: Path, link: Link) -> Iterator[HostTarget]:
    with HostTarget(link, name="local", root=str(tmp_path / "root"), interpreter=sys.executable) as target:
        target.check()
        link.written = link.flights = 0
        yield target


def unique() -> str:
    return uuid.uuid4().hex


def test_of_one_changed_file_among_thousands_little_more_than_itself_travels(target, link):
    files = {f"package{n % 10}/module_{n:05}.py": f"{n}" for n in range(3000)}
    first, second = Tree(files), Tree({**files, "package3/module_00003.py": "changed"})
    target.send(first)
    link.written = link.flights = 0
    sent = target.send(second, base=first.manifest)
    assert sent == Sent(files=1, bytes=7)
    assert sent.wire_bytes == link.written < 1000
    assert link.flights == 2


def test_a_base_that_went_costs_a_round_trip_and_the_whole_manifest(target, link, tmp_path):
    first, second = Tree({"a": "1"}), Tree({"a": "1", "b": "2"})
    target.send(first)
    (tmp_path / "root/snapshots" / first.id).unlink()
    link.flights = 0
    assert target.send(second, base=first.manifest) == Sent(files=1, bytes=1)
    assert link.flights == 3


def test_a_base_that_has_nothing_in_common_is_left_out(target, link):
    first = Tree({f"old {n}": f"{n}" for n in range(50)})
    second = Tree({"new": "new"})
    target.send(first)
    link.flights = 0
    assert target.send(second, base=first.manifest) == Sent(files=1, bytes=3)
    assert link.flights == 2


def test_the_manifest_of_a_whole_tree_travels_compressed(target, link):
    tree = Tree({f"some/common/folder/module_{n:05}.py": "same" for n in range(2000)})
    assert target.send(tree).wire_bytes < len(tree.manifest) / 5


def test_the_start_travels_right_behind_the_last_blob(target, link):
    client = Client(target)
    request, tree = client.request("print('here')", files={"data": unique() * 10_000})
    client.run_ids.append(request.run_id)
    assert target.start(request).outcome is Outcome.MISSING
    link.flights = 0
    told = []
    sent = target.send(tree, then=lambda sent: told.append(sent) or request)
    assert link.flights == 2  # what is missing, and whether it was accepted
    assert sent == Sent(files=2, bytes=320_000 + len("print('here')"))
    assert told == [sent]
    assert sent.started is not None
    assert sent.started.outcome is Outcome.ACCEPTED
    assert client.follow(request.run_id).log == b"here\n"
    client.cancel_all()


def test_a_start_follows_where_nothing_was_missing(target):
    client = Client(target)
    request, tree = client.request("pass")
    client.run_ids.append(request.run_id)
    target.send(tree)
    sent = target.send(tree, then=lambda _: request)
    assert sent == Sent()
    assert sent.started is not None
    assert sent.started.outcome is Outcome.ACCEPTED
    client.cancel_all()


def test_a_start_names_the_base_that_is_there(target):
    first, second = Tree({"a": "1"}), Tree({"a": "2"})
    target.send(first)
    request = StartRequest("r", "l", "e", snapshot_id=second.id, bases=("f" * 64, first.id))
    started = target.start(request)
    assert (started.outcome, started.base) == (Outcome.MISSING, first.id)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("content", [TEXT, random.Random(9).randbytes(400_000)], ids=["text", "noise"])
def test_a_send_that_breaks_goes_on_with_what_did_not_arrive_whole(target, link, content, share):
    tree = Tree({f"file {n:02}": content + b"%d" % n for n in range(12)})
    total = sum(len(content + b"%d" % n) for n in range(12))
    marks, told = [], []
    link.on_open = lambda: marks.append(len(tree.opened))
    if not share:
        link.breaks_after = 200

    def progress(done: int, whole: int) -> None:
        if share and not any(earlier >= share * whole for earlier, _ in told) and done >= share * whole:
            link.breaks_next = True
        told.append((done, whole))

    sent = target.send(tree, progress=progress)
    assert sent == Sent(files=12, bytes=total)  # of both tries together
    assert told[-1] == (total, total)
    (mark,) = marks  # one more session
    again = len(tree.opened[mark:])
    chunk = sending.CHUNK_BYTES / len(content)  # how much further than asked it may have broken
    assert max(1, 12 * (1 - share) - chunk - 1) <= again <= 12 * (1 - share) + chunk + 2, again
    assert target.send(tree) == Sent()


def test_a_connection_that_breaks_again_is_told(target, link):
    link.breaks_after, link.breaks_always = 0, True
    tree = Tree({"a": "content"})
    with pytest.raises(TargetUnreachableError, match="broke"):
        target.send(tree)
    link.breaks_after = None
    assert target.send(tree).files == 1


def test_damage_on_the_way_does_not_leave_an_answer_for_the_next_request():
    damaged = {"error": {"code": "damaged", "message": "1 of the blobs arrived damaged: x"}, "complete": False}
    first = ScriptedProcess(said({"missing": [[0, 1]]}, damaged, ACCEPTED), hangs=True)
    second = ScriptedProcess(said(ACCEPTED), hangs=True)
    transport = ScriptedTransport(first, second)
    target = HostTarget(transport, name="vm", root="~/.scriptrun")
    with pytest.raises(TargetRefusedError, match="damaged"):
        target.send(Tree({"a": "content"}), then=lambda _: REQUEST)
    assert first.closed
    assert target.start(REQUEST).outcome is Outcome.ACCEPTED


def test_a_snapshot_that_something_cleans_away_meanwhile_may_be_sent_again_later():
    process = ScriptedProcess(said({"missing": [[0, 1]]}, {"complete": False}), hangs=True)
    target = HostTarget(ScriptedTransport(process), name="vm", root="~/.scriptrun")
    with pytest.raises(TargetUnreachableError, match="lacks a part"):
        target.send(Tree({"a": "content"}))
    assert not process.closed  # nothing is wrong with the session


def test_a_source_that_gives_other_lengths_is_refused(target):
    tree = Tree({"a": "content", "b": Program(b"other")})
    tree.lies[tree.blobs[0]] = b"longer content"
    with pytest.raises(SnapshotChangedError, match="another length"):
        target.send(tree)
    tree.lies.clear()
    assert target.send(tree).files == 2
