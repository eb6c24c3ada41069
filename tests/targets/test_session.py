from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider.scriptrun.errors import ProtocolError, TargetError, TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.supervisor.protocol import frames
from airflow_provider.scriptrun.targets.exchange import ask_news
from airflow_provider.scriptrun.targets.session import NoSupervisorError, Session, SessionBrokenError
from airflow_provider.scriptrun.targets.wake import Wake
from tests.targets.fakes import ScriptedProcess, said


def session(*parts, before: bytes = b"", **values) -> tuple[Session, ScriptedProcess]:
    """Return a session with a process that says these parts."""
    process = ScriptedProcess(before + said(*parts), **values)
    return Session(process, "the host"), process


@given(st.integers(1, 40), st.binary(max_size=300).filter(lambda text: frames.MARKER not in text))
def test_an_answer_is_found_behind_any_banner_in_pieces_of_any_size(piece, banner):
    ours, process = session({"one": 1}, {"two": 2}, before=banner, piece=piece)
    assert ours.ask({"op": "x"}) == {"one": 1}
    assert ours.ask({"op": "y"}) == {"two": 2}
    assert (ours.banner, ours.answered, ours.is_reusable) == (banner, 2, True)
    assert b'{"op":"x"}' in process.written


def test_a_command_that_ends_without_a_word_is_no_supervisor_and_is_quoted():
    process = ScriptedProcess(b"Welcome to vm\n", errors=b"python3: can't open file 'x'\n", code=2)
    with pytest.raises(NoSupervisorError, match=r"(?s)ended with code 2.*Welcome to vm.*can't open file") as caught:
        Session(process, "the host").ask({"op": "hello"})
    assert caught.value.exit_code == 2


def test_a_process_that_reads_nothing_but_said_why_is_understood():
    error = {"error": {"code": "no_space", "message": "The disk is full.", "advice": "Free some."}}
    ours, _ = session(error, deaf=True)
    ours.put({"op": "send"})
    with pytest.raises(TargetRefusedError, match=r"The disk is full\. Free some\."):
        ours.put_data([b"x" * 200_000])
    assert ours.broken


def test_a_connection_that_ends_in_an_answer_may_be_tried_again():
    process = ScriptedProcess(said({"one": 1})[:-3], errors=b"Killed")
    ours = Session(process, "the host")
    with pytest.raises(SessionBrokenError, match=r"ended in the middle.*Killed"):
        ours.ask({"op": "x"})
    assert not ours.is_reusable


def test_a_target_that_does_not_answer_is_unreachable_in_bounded_time():
    ours, _ = session(hangs=True)
    with pytest.raises(TargetUnreachableError, match="did not answer for 65 seconds") as caught:
        ours.ask({"op": "x"}, wait_s=5)
    assert not isinstance(caught.value, SessionBrokenError)
    assert not ours.is_reusable


def test_an_error_is_raised_and_the_session_goes_on():
    ours, _ = session({"error": {"code": "internal", "message": "Oh.", "advice": None}}, {"fine": True})
    with pytest.raises(TargetError, match="Oh"):
        ours.ask({"op": "x"})
    assert ours.is_reusable
    assert ours.ask({"op": "x"}) == {"fine": True}


def test_data_that_is_not_read_to_its_end_leaves_a_session_that_nobody_may_use():
    ours, _ = session({"size": 2}, b"a", b"b", None)
    ours.put({"op": "x"})
    ours.next()
    next(ours.data())
    ours.done()
    assert not ours.is_reusable


def test_content_that_fails_while_it_is_read_leaves_a_session_that_nobody_may_use():
    def content():
        yield b"x"
        raise ValueError("it changed")

    ours, _ = session({"fine": True})
    ours.put({"op": "x"})
    with pytest.raises(ValueError, match="it changed"):
        ours.put_data(content())
    assert not ours.is_reusable


@given(st.binary(max_size=200))
def test_whatever_a_target_says_is_an_answer_or_an_error_of_ours(noise):
    process = ScriptedProcess(frames.MARKER + noise)
    ours = Session(process, "the host")
    try:
        assert isinstance(ours.ask({"op": "x"}), dict)
    except TargetError:
        assert not ours.is_reusable or ours.answered


def test_a_banner_without_end_is_refused():
    process = ScriptedProcess(b"y\n" * frames.MAX_BANNER_BYTES, code=None)
    with pytest.raises(TargetRefusedError, match=r"the host prints more than .* bytes before a command's own output"):
        Session(process, "the host").ask({"op": "x"})


def test_a_frame_that_is_longer_than_any_is_refused_before_it_is_read():
    process = ScriptedProcess(frames.MARKER + b"J\xff\xff\xff\xff", hangs=True)
    with pytest.raises(ProtocolError, match="no frame"):
        Session(process, "the host").ask({"op": "x"})


class Waiting(ScriptedProcess):
    """A process whose answer to the poll comes once it was interrupted."""

    def __init__(self, *parts, **values) -> None:
        super().__init__(said(*parts), **values)
        self.reads = threading.Event()
        self.is_told = threading.Event()

    def read(self, size, timeout_s):
        if b"poll" in self.written:
            self.reads.set()
            assert self.is_told.wait(30)
        return super().read(size, timeout_s)

    def write(self, data, timeout_s):
        super().write(data, timeout_s)
        if b"wake" in data:
            self.is_told.set()


def test_a_poll_that_waits_is_interrupted_once_from_another_thread():
    process = Waiting({"end": True}, {"one": 1})
    ours, wake = Session(process, "the host"), Wake()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask_news, ours, {"op": "poll"}, {}, 600.0, 1, wake)
        assert process.reads.wait(30)
        wake.ring()
        wake.ring()
        assert answer.result(30) == []
    assert process.written.count(b"wake") == 1
    assert ours.ask({"op": "x"}) == {"one": 1}
    wake.clear()
    wake.ring()
    assert process.written.count(b"wake") == 1, "nobody waits"


def test_a_poll_that_was_interrupted_before_it_waits_does_not_wait():
    process = Waiting({"end": True})
    wake = Wake()
    wake.ring()
    assert ask_news(Session(process, "the host"), {"op": "poll"}, {}, 600.0, 1, wake) == []
    assert process.written.index(b"poll") < process.written.index(b"wake")


def test_an_interruption_that_cannot_be_sent_is_left_to_whoever_reads():
    Session(ScriptedProcess(deaf=True), "the host").interrupt()
