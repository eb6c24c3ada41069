from __future__ import annotations

import threading

import pytest

from airflow_provider.scriptrun.targets.ahead import Ahead


def test_items_come_in_their_order_and_to_their_end():
    with Ahead(range(1000), 3) as items:
        assert list(items) == list(range(1000))


def test_no_more_than_there_is_room_for_is_made_ahead():
    made = []
    allowed = threading.Event()

    def numbers():
        for number in range(10):
            made.append(number)
            if number == 3:
                allowed.set()
            yield number

    with Ahead(numbers(), 3) as items:
        assert allowed.wait(30)
        assert made == [0, 1, 2, 3]  # three wait, and one is made and finds no room
        assert next(items) == 0
    assert len(made) <= 5


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_what_making_raises_is_raised_behind_what_was_made(error):
    def numbers():
        yield 1
        yield 2
        raise error

    got = []
    with pytest.raises(type(error)), Ahead(numbers(), 10) as items:
        got.extend(items)
    assert got == [1, 2]


def test_the_thread_is_gone_when_the_block_is_left():
    closed = threading.Event()

    def numbers():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), Ahead(numbers(), 2) as items:
        raise ZeroDivisionError(next(items))
    assert threading.active_count() == before
    assert closed.wait(30)
