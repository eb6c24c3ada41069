from __future__ import annotations

import pytest

from airflow_provider.scriptrun.runs import progress
from airflow_provider.scriptrun.runs.progress import Progress, readable
from tests.runs.fakes import Ears


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_over_at_once_says_nothing():
    ears, clock = Ears(), Clock()
    step = Progress(ears, "Sending", clock=clock)
    for _ in range(1000):
        step.reach(5, 10)
    step.finish()
    assert ears.notes == []


def test_a_long_step_says_a_line_every_few_seconds():
    ears, clock = Ears(), Clock()
    step = Progress(ears, "Sending", total=2_000_000, clock=clock)
    for _ in range(200):
        clock.now += 0.1
        step.advance(10_000)
    assert len(ears.notes) == 4
    assert ears.notes[0] == "Sending: 110.0 KB of 2.0 MB (6%)"


def test_without_a_total_the_amount_is_enough():
    ears, clock = Ears(), Clock()
    step = Progress(ears, "Hashing", clock=clock)
    clock.now = 10.0
    step.advance(1500)
    assert ears.notes == ["Hashing: 1.5 KB"]


def test_a_terminal_gets_a_bar_on_one_line(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    ears, clock = Ears(), Clock()
    step = Progress(ears, "Sending", total=100, is_terminal=True, clock=clock)
    for _ in range(10):
        clock.now += 1
        step.advance(10)
    step.finish()
    shown = capsys.readouterr().err
    assert ears.notes == []
    assert shown.count("\r") >= 10
    assert shown.endswith("\n")
    assert f"[{'#' * 15}{' ' * 15}] 50 bytes of 100 bytes (50%)" in shown


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 KB"), (2.5e9, "2.5 GB"), (5e15, "5000.0 TB")]
)
def test_an_amount_reads_as_a_person_says_it(count, text):
    assert readable(count) == text
