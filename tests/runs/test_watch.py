from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider.scriptrun.errors import RunFailedError, TargetError, TargetUnreachableError, UnknownRunError
from airflow_provider.scriptrun.runs import lease, log_view, reach, run_view, watch
from airflow_provider.scriptrun.runs.run_view import RunView
from airflow_provider.scriptrun.runs.watch import Watch
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets.contract import Cursor, Stream
from tests.runs.fakes import Ears, FakeTarget


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(reach, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(reach, "LONGEST_PAUSE_SECONDS", 0.02)


#: The options that are the watch's own; the others are its view's.
WATCH = ("poll_wait_s", "should_stop", "restart", "source")


class Following:
    """A watch in a thread of its own."""

    def __init__(self, target, ears, **options):
        of_watch = {name: options.pop(name) for name in WATCH if name in options}
        view = RunView(cursor=options.pop("cursor", Cursor("r")), reporter=ears, **options)
        self.watch = Watch(target=target, view=view, **of_watch)
        self.result = self.error = self.ended_at = None
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self):
        try:
            self.result = self.watch.follow()
        except BaseException as error:
            self.error = error
        self.ended_at = time.monotonic()

    def wait(self):
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self.error:
            raise self.error
        return self.result


@pytest.fixture
def target():
    target = FakeTarget()
    target.run("r")
    yield target
    target.close()


@pytest.fixture
def ears():
    return Ears()


def test_lines_come_while_the_script_runs_and_the_end_at_once(target, ears):
    following = Following(target, ears, poll_wait_s=600.0)  # what comes by itself comes at once
    target.move(Status.RUNNING)
    ears.heard("is running")
    target.write(b"one\ntw")
    ears.heard("one")
    target.write(b"o\n")
    ears.heard("two")
    ended_at = time.monotonic()
    target.end()
    assert following.wait().status is Status.COMPLETED
    assert following.ended_at - ended_at < 10.0
    assert ears.lines == ["one", "two"]


def test_what_was_written_right_before_the_end_is_shown(target, ears):
    target.write(b"build\n", stream=Stream.BUILD_LOG)
    target.write(b"last words")
    target.end(Status.FAILED)
    assert Following(target, ears).wait().status is Status.FAILED
    assert ears.lines == ["build", "last words"]


@settings(max_examples=25)
@given(st.lists(st.binary(min_size=1, max_size=30), max_size=12), st.integers(1, 40))
def test_the_log_is_whole_however_it_arrives(chunks, part):
    target, ears = FakeTarget(), Ears()
    target.run("r")
    target.max_part = part
    following = Following(target, ears)
    for number, chunk in enumerate(chunks):
        target.write(chunk.replace(b"\r", b""))
        if number % 3 == 2:
            with target.changed:
                target.trouble.append(TargetUnreachableError("gone for a moment"))
                target.changed.notify_all()
    target.end()
    following.wait()
    data = b"".join(chunks).replace(b"\r", b"")
    assert "\n".join(ears.lines) == data.decode("utf-8", "replace").removesuffix("\n")
    target.close()


def test_an_unreachable_target_is_tried_again_and_the_log_goes_on(target, ears):
    target.write(b"one\n")
    following = Following(target, ears)
    ears.heard("one")
    with target.changed:
        target.trouble = [TargetUnreachableError(f"trouble {n}") for n in range(5)]
        target.changed.notify_all()
    ears.heard("trouble 4")
    target.write(b"two\n")
    target.end()
    following.wait()
    assert ears.lines == ["one", "two"]
    assert all("The run goes on; trying again" in text for text in ears.warnings)


def test_it_gives_up_once_the_run_has_surely_ended_itself(target, ears, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_MARGIN_SECONDS", 0.0)
    target.trouble = [TargetUnreachableError("no route")] * 10_000
    following = Following(target, ears, orphan_after_s=0.05, grace_s=0.0)
    with pytest.raises(RunFailedError, match=r"unreachable.*no route"):
        following.wait()


def test_it_never_gives_up_on_a_run_that_lives_for_ever(target, ears, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_MARGIN_SECONDS", -1e9)
    target.trouble = [TargetUnreachableError("no route")] * 20
    following = Following(target, ears, orphan_after_s=None)
    target.end()
    assert following.wait().status is Status.COMPLETED


def test_a_stop_is_noticed_while_nothing_is_said_and_leaves_the_run_alone(target, ears):
    stop = threading.Event()
    saved = []
    following = Following(target, ears, should_stop=stop.is_set, save=saved.append, poll_wait_s=600.0)
    target.write(b"one\nhalf")
    ears.heard("one")
    stopped_at = time.monotonic()
    stop.set()
    assert following.wait().status is Status.STARTING
    assert following.ended_at - stopped_at < 10.0
    assert saved[-1].offsets[Stream.RUN_LOG] == 4
    assert not any(call[0] == "cancel" for call in target.calls)


def test_a_stop_is_noticed_while_the_target_is_unreachable(target, ears, monkeypatch):
    monkeypatch.setattr(reach, "FIRST_PAUSE_SECONDS", 60.0)
    stop = threading.Event()
    target.trouble = [TargetUnreachableError("no route")] * 100
    following = Following(target, ears, should_stop=stop.is_set)
    ears.heard("no route")
    stop.set()
    following.wait()
    assert following.result is None


def test_a_successor_goes_on_behind_a_line_that_says_so(target, ears):
    saved = []
    stop = threading.Event()
    target.write(b"one\ntwo\nhal")
    following = Following(target, ears, should_stop=stop.is_set, save=saved.append)
    ears.heard("two")
    stop.set()
    following.wait()
    cursor = Cursor.from_document(saved[-1].document())
    target.write(b"f\n")
    target.end()
    second = Ears()
    Following(target, second, cursor=cursor).wait()
    assert ears.lines + second.lines == ["one", "two", "half"]
    assert "goes on at byte 8" in second.notes[0]


def test_metrics_are_no_part_of_what_a_watcher_reads(target, ears):
    target.write(b'{"metric":"a","value":1}\n', stream=Stream.MESSAGES)
    target.end()
    following = Following(target, ears)
    following.wait()
    assert [Stream.MESSAGES in cursor.offsets for cursor in target.asked] == [False]


def test_a_start_that_nobody_finished_is_asked_for_again(target, ears):
    target.move(Status.NOT_STARTED)
    restarted = threading.Event()

    def restart():
        restarted.set()
        target.move(Status.RUNNING)

    following = Following(target, ears, restart=restart)
    assert restarted.wait(10)
    target.write(b"one\n")
    target.end()
    assert following.wait().status is Status.COMPLETED
    assert ears.lines == ["one"]


def test_a_start_that_never_comes_about_is_an_error(target, ears):
    target.move(Status.NOT_STARTED)
    with pytest.raises(TargetError, match="nobody is about to start it"):
        Following(target, ears, restart=lambda: None).wait()
    with pytest.raises(TargetError, match="Submit it again"):
        Following(target, ears).wait()


def test_a_run_that_the_target_does_not_know_is_an_error(target, ears):
    with pytest.raises(UnknownRunError):
        Following(target, ears, cursor=Cursor("other")).wait()


def test_a_log_over_its_cap_is_not_read_in_the_middle(target, ears, monkeypatch):
    monkeypatch.setattr(log_view, "TAIL_BYTES", 1000)
    monkeypatch.setattr(watch, "TAIL_BYTES", 1000)
    following = Following(target, ears, log_cap_bytes=50, log_name="/w/run.log")
    target.write(b"".join(b"head %d\n" % n for n in range(20)))
    ears.heard("head 6")
    target.move(Status.RUNNING)
    ears.heard("is running")
    target.write(b"x" * 10_000_000 + b"\nlast but one\nlast\n")
    target.end()
    following.wait()
    assert ears.lines[:7] == [f"head {n}" for n in range(7)]
    assert "/w/run.log" in next(line for line in ears.lines if "not shown" in line)
    assert ears.lines[-2:] == ["last but one", "last"]
    assert sum(map(len, ears.lines)) < 5000


@pytest.mark.parametrize("cap", [1, 50, 5000, 10**9])
def test_the_end_is_seen_however_much_of_the_log_was_left_out_before_it(target, ears, cap):
    target.max_part = 1000
    target.write(b"".join(b"line %d\n" % n for n in range(2000)))
    target.end()
    assert Following(target, ears, log_cap_bytes=cap).wait().status is Status.COMPLETED
    assert ears.lines[-1] == "line 1999"


def test_a_run_that_says_nothing_is_not_stored_all_the_time(target, ears, monkeypatch):
    monkeypatch.setattr(run_view, "SAVE_SECONDS", 0.0)
    saved = []
    following = Following(target, ears, save=saved.append)
    for serial in range(20):
        target.move(Status.RUNNING if serial % 2 else Status.QUEUED)
    ears.heard("is running")
    assert saved == []
    target.write(b"one\n")
    ears.heard("one")
    target.move(Status.FINALIZING)
    ears.heard("is finalizing")
    target.end()
    following.wait()
    assert [cursor.offsets[Stream.RUN_LOG] for cursor in saved] == [4]


def test_what_was_shown_is_stored_at_most_every_so_often(target, ears):
    saved = []
    following = Following(target, ears, save=saved.append)
    for number in range(20):
        target.write(b"%d\n" % number)
        ears.heard(str(number))
    assert saved == []
    target.end()
    following.wait()
    assert len(saved) == 1


def test_that_a_silent_run_is_watched_is_stored_often_enough_to_tell_when_its_lease_is_over(target, ears, monkeypatch):
    monkeypatch.setattr(run_view, "WATCHED_SECONDS", 0.0)
    stored = threading.Event()
    following = Following(target, ears, save=lambda _cursor: stored.set())
    assert stored.wait(10)
    target.end()
    following.wait()


def test_that_it_is_watched_is_stored_while_the_target_does_not_answer(target, ears, monkeypatch):
    monkeypatch.setattr(run_view, "WATCHED_SECONDS", 0.0)
    stored = threading.Event()
    target.trouble = [TargetUnreachableError("no answer")] * 10_000
    following = Following(target, ears, save=lambda _cursor: stored.set())
    assert stored.wait(10)
    target.trouble.clear()
    target.end()
    following.wait()
