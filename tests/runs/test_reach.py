from __future__ import annotations

import time

import pytest

from airflow_provider.scriptrun.errors import TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.runs import reach as module
from airflow_provider.scriptrun.runs.reach import Patience, pauses, reach
from airflow_provider.scriptrun.targets.host import HostTarget
from tests.runs.fakes import Ears
from tests.targets.fakes import ScriptedProcess, ScriptedTransport, said
from tests.targets.test_parse import HELLO


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.01)


def refuses(error: Exception):
    """Return what a transport does in the place of starting a command: the seam is ``transports.base``."""

    def open_(_argv):
        raise error

    return open_


def test_a_host_is_asked_again_until_it_answers():
    away = refuses(TargetUnreachableError("no route to host"))
    transport = ScriptedTransport(away, away, away, ScriptedProcess(said(HELLO), hangs=True))
    target = HostTarget(transport, name="vm", root="~/.scriptrun", interpreter="python3")
    ears = Ears()
    assert reach(ears, target.check).host.id == "machine"
    assert len(ears.warnings) == 3
    assert all("no route to host" in text and "Trying again" in text for text in ears.warnings)


def test_a_host_that_refuses_is_not_asked_again():
    transport = ScriptedTransport(refuses(TargetRefusedError("the host key is another one")))
    target = HostTarget(transport, name="vm", root="~/.scriptrun", interpreter="python3")
    with pytest.raises(TargetRefusedError, match="host key"):
        reach(Ears(), target.check)
    assert len(transport.commands) == 1


def test_patience_ends_and_says_for_how_long_and_what_to_do():
    def call():
        raise TargetUnreachableError("no route", why="the cable is cut")

    begun = time.monotonic()
    with pytest.raises(TargetUnreachableError, match=r"no route \(tried for \d+ s\). the cable is cut. Plug it in."):
        reach(Ears(), call, patience=Patience(0.05, advice="Plug it in"))
    assert time.monotonic() - begun >= 0.05


def test_a_long_call_that_makes_progress_is_not_silent():
    patience, told, tries = Patience(0.5), [], []

    def call():
        tries.append(None)
        if len(tries) <= 10:
            time.sleep(0.06)  # the call is under way; all of them together take longer than the patience
            patience.beside(told.append)(len(tries))
            raise TargetUnreachableError("cut in the middle")
        return "done"

    assert reach(Ears(), call, patience=patience) == "done"
    assert told == list(range(1, 11))


def test_pauses_grow_and_no_two_watchers_come_back_together(monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.5)
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 60.0)
    one, other = pauses(), pauses()
    first, second = [next(one) for _ in range(12)], [next(other) for _ in range(12)]
    assert first != second
    longest = 0.5
    for pause in first:
        assert longest / 2 <= pause <= longest
        longest = min(2 * longest, 60.0)
