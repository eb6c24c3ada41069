"""A script that prints much holds up nobody: what all triggers of a triggerer show is bounded, and nothing is lost."""

from __future__ import annotations

import pytest

from airflow_provider.scriptrun.triggers.allowance import BYTES_PER_SECOND, KEPT_SECONDS, LINE_BYTES, Allowance

MOST = BYTES_PER_SECOND * KEPT_SECONDS


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shared(clock: Clock) -> Allowance:
    return Allowance(clock)


def paid(shown: bytes) -> int:
    return len(shown) + LINE_BYTES * shown.count(b"\n")


def test_who_says_little_says_it_at_once(shared: Allowance) -> None:
    assert [shared.take(b"epoch 1\n") for _ in range(10)] == [8] * 10
    assert shared.take(b"") == 0


@pytest.mark.parametrize("line", [b"\n", b"x" * 99 + b"\n", b"x" * 9999 + b"\n"])
def test_what_comes_at_once_is_bounded_and_ends_with_a_line(shared: Allowance, line: bytes) -> None:
    data = line * (4_000_000 // len(line))
    count = shared.take(data)
    assert 0 < paid(data[:count]) <= MOST / 2
    assert count % len(line) == 0


def test_a_line_that_is_too_long_comes_in_pieces(shared: Allowance) -> None:
    assert 0 < shared.take(b"x" * 4_000_000) <= MOST / 2


def test_in_the_long_run_no_more_comes_than_is_allowed_and_not_much_less(shared: Allowance, clock: Clock) -> None:
    data, begin, shown = b"x" * 99 + b"\n", clock.now, 0
    much = data * 40_000
    while clock.now < begin + 600:
        shown += paid(much[: shared.take(much)])
        clock.now += 2.0
    assert 0.9 * BYTES_PER_SECOND < shown / 600 < 1.1 * BYTES_PER_SECOND


def test_beside_one_that_prints_without_end_another_one_has_its_say(shared: Allowance, clock: Clock) -> None:
    much = (b"x" * 99 + b"\n") * 40_000
    for _ in range(100):
        shared.take(much)
        assert shared.take(b"epoch 1\n") == 8
        clock.now += 2.0
