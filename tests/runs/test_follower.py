"""What is asked for many readers, and what of the answer is whose: held against a model, without a target."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider.scriptrun.errors import UnknownRunError
from airflow_provider.scriptrun.runs import follower as module
from airflow_provider.scriptrun.runs.follower import NEWS_AHEAD, Follower, is_crowded, next_question
from airflow_provider.scriptrun.runs.pace import CREDIT_SECONDS, LONGEST_SECONDS, SECONDS_PER_RUN, Pace
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets.contract import Cursor, News, RunStatus, Stream, StreamPart

LOG = Stream.RUN_LOG
RUNS = ("a", "b", "c")


def status(serial: int, name: Status = Status.RUNNING) -> RunStatus:
    return RunStatus(serial=serial, status=name, document={})


def part(offset: int, data: bytes, size: int | None = None) -> StreamPart:
    return StreamPart(LOG, offset, data, offset + len(data) if size is None else size)


class Host:
    """What a target would answer: a status and a log per run."""

    def __init__(self) -> None:
        self.logs = dict.fromkeys(RUNS, b"")
        self.serials = dict.fromkeys(RUNS, 1)

    def answer(self, question, room: int) -> list[News]:
        found = []
        for run, cursor in question.items():
            parts = tuple(
                StreamPart(stream, at, self.logs[run][at : at + room], len(self.logs[run]))
                for stream, at in cursor.offsets.items()
            )
            if self.serials[run] != cursor.seen or any(item.data for item in parts):
                found.append(News(run, status(self.serials[run]), parts))
        return found


class Reader:
    """What one reader has heard, and what it has dealt with."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.follower = Follower(Cursor(run, offsets={LOG: 0}))
        self.log, self.serials, self.waiting = b"", [], 0

    def hear(self, news: News) -> None:
        mine = self.follower.takes(news)
        if mine is not None:
            self.waiting += 1
            self.serials.append(mine.status.serial)
            for item in mine.parts:
                assert item.offset == len(self.log)
                self.log += item.data

    def take(self) -> None:
        if self.waiting:
            self.waiting -= 1
            self.follower.taken()


class Together:
    """A host and its readers."""

    def __init__(self) -> None:
        self.host = Host()
        self.readers = [Reader(run) for run in RUNS]

    def ask(self, room: int) -> bool:
        """Ask one question; return whether there was an answer."""
        followers = [reader.follower for reader in self.readers]
        question = next_question(followers, is_crowded=is_crowded(followers))
        assert set(question) == {reader.run for reader in self.readers}, "every run's lease is renewed"
        answer = self.host.answer(question, room)
        for news in answer:
            for reader in self.readers:
                if reader.run == news.run_id:
                    reader.hear(news)
        assert all(reader.waiting <= NEWS_AHEAD for reader in self.readers)
        return bool(answer)

    def write(self, run: str, data: bytes) -> None:
        self.host.logs[run] += data

    def move(self, run: str) -> None:
        self.host.serials[run] += 1

    def join(self, run: str) -> None:
        self.readers.append(Reader(run))

    def take(self, number: int) -> None:
        self.readers[number % len(self.readers)].take()

    def ask_until_nothing_is_new(self) -> None:
        """Nobody takes anything: a poll waits again then, and nobody spins."""
        rounds = 0
        while self.ask(7):
            rounds += 1
            assert rounds < 1000

    def finish(self) -> None:
        """Everybody takes all that there is."""
        rounds = 0
        while any(reader.waiting for reader in self.readers) or self.ask(7):
            rounds += 1
            assert rounds < 5000
            for reader in self.readers:
                reader.take()


_STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(RUNS), st.binary(min_size=1, max_size=20)),
    st.tuples(st.just("move"), st.sampled_from(RUNS)),
    st.tuples(st.just("join"), st.sampled_from(RUNS)),
    st.tuples(st.just("ask"), st.integers(1, 15)),
    st.tuples(st.just("take"), st.integers(0, 20)),
)


@settings(max_examples=300)
@given(st.lists(_STEPS, max_size=60), st.sampled_from([1, 10, 1 << 25]))
def test_every_reader_hears_all_of_its_run_in_order_and_never_more_than_it_takes(steps, held_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HELD_BYTES", held_bytes)
        together = Together()
        for name, *values in steps:
            getattr(together, name)(*values)
        together.ask_until_nothing_is_new()
        together.finish()
    for reader in together.readers:
        assert reader.log == together.host.logs[reader.run]
        assert reader.serials[-1] == together.host.serials[reader.run]


def test_a_reader_that_is_behind_asks_for_its_lease_alone_and_hears_later_what_came_meanwhile():
    reader = Follower(Cursor("r", offsets={LOG: 0}))
    for number in range(NEWS_AHEAD):
        reader.asks()
        assert reader.takes(News("r", status(1), (part(number, b"x"),)))
    muted = reader.asks()
    assert (dict(muted.offsets), muted.seen) == ({}, 1)
    assert reader.takes(News("r", status(2, Status.COMPLETED))) is None
    assert reader.asks().seen == 2
    reader.taken()
    asked = reader.asks()
    assert (asked.seen, asked.offsets[LOG]) == (1, NEWS_AHEAD)
    assert reader.takes(News("r", status(2, Status.COMPLETED), (part(NEWS_AHEAD, b""),))).is_last


def test_what_was_asked_before_a_reader_takes_again_is_not_for_it():
    reader = Follower(Cursor("r", offsets={LOG: 0}))
    for _ in range(NEWS_AHEAD):
        reader.asks()
        reader.takes(News("r", status(1), (part(reader.cursor.offsets[LOG], b"x"),)))
    reader.asks()
    reader.taken()
    assert reader.takes(News("r", status(2, Status.COMPLETED))) is None, "it says nothing about the log"
    assert reader.asks().seen == 1


def test_a_run_that_nothing_can_be_said_about_is_not_asked_about_while_its_reader_does_not_listen():
    reader = Follower(Cursor("r", offsets={LOG: 0}))
    for _ in range(NEWS_AHEAD):
        reader.asks()
        reader.takes(News("r", status(1), (part(reader.cursor.offsets[LOG], b"x"),)))
    reader.asks()
    gone = News("r", None, error=UnknownRunError("gone"))
    assert reader.takes(gone) is None
    assert next_question([reader]) == {}
    reader.taken()
    assert next_question([reader])
    assert reader.takes(gone).error is gone.error


def test_a_stream_that_is_left_out_is_not_brought_by_what_was_under_way():
    reader = Follower(Cursor("r", offsets={LOG: 0, Stream.MESSAGES: 0}))
    reader.asks()
    reader.leave_out(LOG)
    mine = reader.takes(
        News("r", status(3, Status.COMPLETED), (part(0, b"xx", 1000), StreamPart(Stream.MESSAGES, 0, b"", 0)))
    )
    assert [item.stream for item in mine.parts] == [Stream.MESSAGES]
    assert mine.is_last
    assert dict(reader.asks().offsets) == {Stream.MESSAGES: 0}


@pytest.mark.parametrize("runs", [1, 20, 200, 5000])
def test_answers_without_an_end_are_asked_for_at_a_pace_and_single_ones_at_once(runs):
    pace, now, pauses = Pace(), 1000.0, []
    cost = min(SECONDS_PER_RUN * runs, LONGEST_SECONDS)
    for _ in range(3):
        now += 60
        assert pace.pause(now, runs) == 0.0
        assert pace.pause(now + 0.001, runs) == 0.0, "what a script says last, and its end"
    begin = now
    for _ in range(1000):
        pauses.append(pace.pause(now, runs))
        now += pauses[-1]
    assert now - begin >= 1000 * cost - CREDIT_SECONDS - 1e-6
    assert max(pauses) <= cost + 1e-9
