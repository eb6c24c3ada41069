"""One thread and one question for all runs on a host: at a target that a test moves by hand, and with real runs."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider.scriptrun.errors import TargetRefusedError, TargetUnreachableError, UnknownRunError
from airflow_provider.scriptrun.runs import reach
from airflow_provider.scriptrun.runs.follower import NEWS_AHEAD
from airflow_provider.scriptrun.runs.host_watch import HostWatch
from airflow_provider.scriptrun.runs.host_watches import HostWatches
from airflow_provider.scriptrun.runs.reach import Trouble
from airflow_provider.scriptrun.runs.run_view import RunView
from airflow_provider.scriptrun.runs.shared_poller import SharedPoller
from airflow_provider.scriptrun.runs.watch import Watch
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets import registry
from airflow_provider.scriptrun.targets.contract import Cursor, Handle, Limits, News, StartRequest, Stream
from airflow_provider.scriptrun.targets.local import LocalTarget
from tests.runs.fakes import Ears, FakeSurroundings, FakeTarget

PATIENCE_S = 30.0
#: Longer than any test: what comes by itself comes at once, or the test fails.
FOR_EVER_S = 600.0


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(reach, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(reach, "LONGEST_PAUSE_SECONDS", 0.02)


class Reader:
    """Hears of one run, and takes what it hears unless it is ``slow``."""

    def __init__(self, watch: HostWatch, run_id: str = "r", *, slow: bool = False) -> None:
        self.heard: list = []
        self.log = b""
        self._changed = threading.Condition()
        self._slow, self._ready = slow, threading.Event()
        self.subscription = watch.follow(Cursor(run_id), self._hear)
        self._ready.set()

    def _hear(self, what) -> None:
        self._ready.wait()
        with self._changed:
            self.heard.append(what)
            if isinstance(what, News):
                self.log += what.data(Stream.RUN_LOG)
            self._changed.notify_all()
        if isinstance(what, News) and not self._slow:
            self.subscription.taken()

    def take_on(self) -> None:
        """Be slow no more."""
        self._slow = False
        for _ in range(NEWS_AHEAD):
            self.subscription.taken()

    def wait_for(self, condition):
        with self._changed:
            assert self._changed.wait_for(lambda: any(map(condition, self.heard)), PATIENCE_S), self.heard
            return next(what for what in self.heard if condition(what))

    def is_told(self, status: Status) -> None:
        self.wait_for(lambda what: isinstance(what, News) and what.status is not None and what.status.status is status)

    def is_over(self) -> News:
        return self.wait_for(lambda what: isinstance(what, News) and what.is_last)

    def has_log(self, log: bytes) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.log == log, PATIENCE_S), self.log[-100:]


@pytest.fixture
def target():
    target = FakeTarget()
    for run_id in ("r", "s", "t"):
        target.run(run_id)
    yield target
    target.close()


@pytest.fixture
def watch(target):
    watch = HostWatch(target, wait_s=FOR_EVER_S)
    yield watch
    watch.close()


def waits(target: FakeTarget) -> None:
    """Return once a poll waits for news."""
    with target.changed:
        assert target.changed.wait_for(lambda: target.waiting == 1, PATIENCE_S)


def test_a_reader_that_comes_while_a_poll_waits_hears_at_once(target, watch):
    first = Reader(watch, "r")
    first.is_told(Status.STARTING)
    waits(target)
    second = Reader(watch, "s")
    second.is_told(Status.STARTING)
    waits(target)
    assert {cursor.run_id for cursor in target.asked} == {"r", "s"}


def test_each_reader_hears_of_its_own_run_and_both_of_one_that_two_read(target, watch):
    readers = [Reader(watch, run_id) for run_id in ("r", "s", "s")]
    for reader in readers:
        reader.is_told(Status.STARTING)
    target.write(b"one\n", "r")
    target.write(b"two\n", "s")
    late = Reader(watch, "s")
    for reader in (*readers[1:], late):
        reader.has_log(b"two\n")
    readers[0].has_log(b"one\n")
    target.end(run_id="s")
    for reader in (*readers[1:], late):
        assert reader.is_over().status.status is Status.COMPLETED
    target.write(b"more\n", "r")
    readers[0].has_log(b"one\nmore\n")


def test_a_reader_that_takes_nothing_holds_nobody_up_and_hears_all_in_the_end(target, watch):
    target.max_part = 10
    target.write(b"x" * 1000, "r")
    slow, quick = Reader(watch, "r", slow=True), Reader(watch, "s")
    quick.is_told(Status.STARTING)
    for number in range(5):
        target.write(b"%d" % number, "s")
        quick.has_log(b"01234"[: number + 1])
    waits(target)
    assert len(slow.heard) == NEWS_AHEAD
    assert {cursor.run_id: dict(cursor.offsets) for cursor in target.asked}["r"] == {}, "its lease alone"
    target.end(run_id="r")
    waits(target)
    assert len(slow.heard) == NEWS_AHEAD
    slow.take_on()
    slow.is_over()
    assert slow.log == b"x" * 1000


def test_an_error_about_one_run_goes_to_its_reader_alone(target, watch):
    good, bad = Reader(watch, "r"), Reader(watch, "nobody")
    error = bad.wait_for(lambda what: isinstance(what, News) and what.error is not None).error
    assert isinstance(error, UnknownRunError)
    target.end(run_id="r")
    good.is_over()
    assert len(bad.heard) == 1


def test_a_target_that_cannot_be_reached_is_tried_again_and_everybody_hears_of_it(target, watch):
    readers = [Reader(watch, run_id) for run_id in ("r", "s")]
    for reader in readers:
        reader.is_told(Status.STARTING)
    begun = time.monotonic()
    with target.changed:
        target.trouble = [TargetUnreachableError(f"trouble {n}") for n in range(5)]
        target.changed.notify_all()
    for reader in readers:
        trouble = reader.wait_for(lambda what: isinstance(what, Trouble) and "trouble 4" in str(what.error))
        assert trouble.reached_at <= begun
    target.end(run_id="r")
    readers[0].is_over()


def test_whoever_leaves_while_the_target_is_away_hears_no_more_and_the_others_go_on(target, watch):
    one, other = Reader(watch, "r"), Reader(watch, "s")
    one.is_told(Status.STARTING)
    other.is_told(Status.STARTING)
    with target.changed:
        target.trouble = [TargetUnreachableError("away")] * 1_000_000
        target.changed.notify_all()
    one.wait_for(lambda what: isinstance(what, Trouble))
    one.subscription.stop()
    target.trouble.clear()
    target.move(Status.RUNNING, "s")
    other.is_told(Status.RUNNING)
    target.end(run_id="r")
    target.end(run_id="s")
    other.is_over()
    assert not any(isinstance(what, News) and what.is_last for what in one.heard)


def test_a_target_that_refuses_ends_every_readers_watch_and_a_new_reader_asks_again(target, watch):
    readers = [Reader(watch, run_id) for run_id in ("r", "s")]
    for reader in readers:
        reader.is_told(Status.STARTING)
    with target.changed:
        target.trouble = [TargetUnreachableError("wakes the poll"), TargetRefusedError("no")]
        target.changed.notify_all()
    for reader in readers:
        reader.wait_for(lambda what: isinstance(what, TargetRefusedError))
    Reader(watch, "t").is_told(Status.STARTING)
    assert [cursor.run_id for cursor in target.asked] == ["t"]


def test_a_reader_that_fails_to_hear_is_left_out_and_the_others_hear_on(target, watch):
    failed = threading.Event()

    def fail(_what):
        failed.set()
        raise RuntimeError("the event loop is closed")

    good = Reader(watch, "r")
    assert watch.follow(Cursor("s"), fail)
    good.is_told(Status.STARTING)
    assert failed.wait(PATIENCE_S)  # it is left out before the next question
    target.end(run_id="r")
    good.is_over()
    Reader(watch, "t").is_told(Status.STARTING)
    assert [cursor.run_id for cursor in target.asked] == ["t"]


def test_after_the_last_reader_has_left_the_thread_ends_and_the_target_is_closed(target):
    watch = HostWatch(target, wait_s=FOR_EVER_S)
    reader = Reader(watch)
    reader.is_told(Status.STARTING)
    waits(target)
    watch._linger_s = 0.05  # only now: it would end before a first reader that comes late
    reader.subscription.stop()
    watch._thread.join(PATIENCE_S)
    assert not watch._thread.is_alive()
    assert target.closed
    assert watch.follow(Cursor("r"), lambda _what: None) is None


def test_a_watch_shows_a_run_from_a_shared_poller_as_from_its_own(target, watch):
    ears = Ears()

    def source(cursor, is_log_capped):
        return SharedPoller(lambda hear: watch.follow(cursor, hear), is_log_capped=is_log_capped)

    with ThreadPoolExecutor(1) as pool:
        shown = Watch(target, RunView(Cursor("r"), ears, log_cap_bytes=50), source=source)
        result = pool.submit(shown.follow)
        target.write(b"build\n", stream=Stream.BUILD_LOG)
        ears.heard("build")
        with target.changed:
            target.trouble = [TargetUnreachableError("gone for a moment")]
            target.changed.notify_all()
        ears.heard("trying again")
        target.write(b"".join(b"line %d\n" % n for n in range(1000)))
        ears.heard("line 5")
        target.end()
        assert result.result(PATIENCE_S).status is Status.COMPLETED
    assert ears.lines[-1] == "line 999"
    assert len(ears.lines) < 1000 or sum(map(len, ears.lines)) < 5000


# One watch per target in a process


@pytest.fixture
def watches():
    watches = HostWatches()
    yield watches
    watches.close()


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    """Surroundings in which every connection opens a fake target, which ``opened`` lists."""
    surroundings = FakeSurroundings(tmp_path)
    surroundings.opened = []

    def opened(name, _surroundings, **_):
        target = FakeTarget(name)
        target.root = "/root"
        for run_id in ("r", "s"):
            target.run(run_id)
        surroundings.opened.append(target)
        return target

    monkeypatch.setattr(registry, "open_target", opened)
    return surroundings


def handle(run_id: str, connection: str = "vm") -> Handle:
    return Handle("fake", connection, "machine-1", "/root", run_id, "lineage", "1", 1)


def test_readers_of_one_host_share_a_watch_and_another_host_has_its_own(watches, surroundings):
    heard = {name: threading.Event() for name in ("r", "s", "elsewhere")}
    for name, where in (("r", handle("r")), ("s", handle("s")), ("elsewhere", handle("r", "other"))):
        watches.follow(where, Cursor(where.run_id), lambda _news, name=name: heard[name].set(), surroundings)
    assert all(event.wait(PATIENCE_S) for event in heard.values())
    assert sorted(target.name for target in surroundings.opened) == ["other", "vm"]


def test_many_that_come_at_once_share_a_watch(watches, surroundings):
    barrier = threading.Barrier(8)

    def come(_number):
        heard = threading.Event()
        barrier.wait(PATIENCE_S)
        watches.follow(handle("r"), Cursor("r"), lambda _news: heard.set(), surroundings)
        return heard.wait(PATIENCE_S)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(come, range(8)))
    assert sum(not target.closed for target in surroundings.opened) == 1


def test_a_watch_that_has_ended_is_replaced(watches, surroundings):
    for number in (1, 2):
        heard = threading.Event()
        watches.follow(handle("r"), Cursor("r"), lambda _news, heard=heard: heard.set(), surroundings)
        assert heard.wait(PATIENCE_S)
        assert len(surroundings.opened) == number
        (watch,) = watches._watches.values()
        watch.close()
        assert surroundings.opened[-1].closed


# Real runs


@pytest.fixture
def local(tmp_path):
    target = LocalTarget(tmp_path / "root")
    yield target
    target.close()


def start(target, run_id: str, *argv: str) -> None:
    environment = {"kind": "default", "schema": 1, "delivery": {}}
    limits = Limits(grace_s=1.0, orphan_after_s=600.0)
    target.start(StartRequest(run_id, f"lineage {run_id}", "e", limits=limits, argv=argv, environment=environment))


def test_a_big_log_and_a_quiet_run_are_watched_side_by_side(local, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    start(local, "loud", "sh", "-c", 'read line < "$0"; head -c 20000000 /dev/zero', str(gate))
    start(local, "quiet", "sh", "-c", "echo said")
    watch = HostWatch(local, wait_s=FOR_EVER_S)
    loud = Reader(watch, "loud")
    loud.is_told(Status.RUNNING)
    with gate.open("w") as file:
        file.write("go\n")
    loud.wait_for(lambda what: isinstance(what, News) and what.data(Stream.RUN_LOG))
    quiet = Reader(watch, "quiet")
    assert quiet.is_over()
    assert quiet.log == b"said\n"
    loud.is_over()
    assert loud.log == bytes(20_000_000)
    watch.close()


@pytest.mark.slow
def test_fifty_runs_at_once_are_all_heard_to_their_end(local, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    door = os.open(gate, os.O_RDWR)
    watch = HostWatch(local, wait_s=FOR_EVER_S)
    readers = []
    script = 'echo "$1 began"; read line < "$0"; seq 1000; echo "$1 ended"; exit 3'
    for number in range(50):
        start(local, f"run-{number}", "sh", "-c", script, str(gate), str(number))
        readers.append(Reader(watch, f"run-{number}"))
    for number, reader in enumerate(readers):
        reader.has_log(f"{number} began\n".encode())
    os.write(door, b"go\n" * 50)
    lines = "".join(f"{n}\n" for n in range(1, 1001))
    for number, reader in enumerate(readers):
        assert reader.is_over().status.exit_code == 3
        assert reader.log.decode() == f"{number} began\n{lines}{number} ended\n"
    os.close(door)
    watch.close()


def test_a_target_that_is_closed_ends_the_watch_of_its_runs_and_they_do_not_notice(local, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    start(local, "r", "sh", "-c", 'read line < "$0"', str(gate))
    watch = HostWatch(local, wait_s=FOR_EVER_S)
    Reader(watch).is_told(Status.RUNNING)
    watch.close()
    with gate.open("w") as file:
        file.write("go\n")
    again = HostWatch(LocalTarget(tmp_path / "root"), wait_s=FOR_EVER_S)
    assert Reader(again).is_over().status.status is Status.COMPLETED
    again.close()
