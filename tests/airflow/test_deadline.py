"""An execution_timeout is noted first, and raises only where nobody looks."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import TimeoutPosix

from airflow_provider.scriptrun.operators import deadline
from airflow_provider.scriptrun.operators.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON = 0.05


@pytest.fixture(autouse=True)
def _alarm_as_it_was() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, handler)


def wait_until_passed(clock: Deadline) -> None:
    end = time.monotonic() + 10
    while not clock.passed and time.monotonic() < end:
        time.sleep(0.001)
    assert clock.passed


def test_the_alarm_is_noted_and_interrupts_nothing() -> None:
    with TimeoutPosix(60), Deadline(is_set=True) as clock:
        assert not clock.passed
        signal.setitimer(signal.ITIMER_REAL, SOON)
        wait_until_passed(clock)


def test_a_step_that_never_looks_is_interrupted_by_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "LAST_CHANCE_SECONDS", SOON)
    with pytest.raises(AirflowTaskTimeout), TimeoutPosix(SOON), Deadline(is_set=True):
        threading.Event().wait(10)


def test_nothing_interrupts_what_follows_a_heeded_deadline() -> None:
    with TimeoutPosix(60), Deadline(is_set=True) as clock:
        signal.setitimer(signal.ITIMER_REAL, SOON)
        wait_until_passed(clock)
        clock.heed()
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_airflows_handler_is_back_afterwards() -> None:
    with TimeoutPosix(60) as airflows:
        with Deadline(is_set=True):
            assert signal.getsignal(signal.SIGALRM) != airflows.handle_timeout
        assert signal.getsignal(signal.SIGALRM) == airflows.handle_timeout


def test_a_task_without_a_timeout_has_no_alarm() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with Deadline(is_set=False) as clock:
        assert signal.getsignal(signal.SIGALRM) == before
    assert not clock.passed


def test_outside_the_main_thread_it_does_nothing() -> None:
    entered = []

    def use() -> None:
        with Deadline(is_set=True) as clock:
            entered.append(clock.passed)

    with TimeoutPosix(60):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    assert entered == [False]
