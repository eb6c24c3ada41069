from __future__ import annotations

import gc
import threading

import pytest

from airflow_provider.scriptrun.runs.collector import held_off


def test_collections_begin_again_with_the_last_of_those_that_held_them_off() -> None:
    assert gc.isenabled()
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with held_off():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(30)
    with held_off():
        assert not gc.isenabled()
    assert not gc.isenabled(), "another thread still holds them off"
    leave.set()
    thread.join()
    assert gc.isenabled()


def test_an_error_does_not_keep_them_off() -> None:
    with pytest.raises(KeyError), held_off():
        raise KeyError
    assert gc.isenabled()


def test_a_process_that_wants_none_gets_none() -> None:
    gc.disable()
    try:
        with held_off():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
