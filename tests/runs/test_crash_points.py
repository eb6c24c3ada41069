"""A worker that dies at each named point, and the next try."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider.scriptrun.runs import crash_points

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
POINTS = [value for name, value in vars(crash_points).items() if name.isupper() and name != "VARIABLE"]
SCRIPT = """
import pathlib, sys, time
with open({count!r}, "a") as file:
    file.write("x")
print("one", flush=True)
while {is_awaited} and not pathlib.Path({fired!r}).exists():  # until its watcher, which dies of that, saw it Running
    time.sleep(0.01)
print("two", flush=True)
pathlib.Path("outputs/model").write_text("model" * 10000)
"""


def attempt(folder: Path, number: int, crash_point: str = "") -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), crash_points.VARIABLE: crash_point}
    command = [sys.executable, str(REPOSITORY / "tests" / "runs" / "crash_worker.py"), str(folder), str(number)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_any_point_leaves_exactly_one_run_for_the_next_try(point, tmp_path):
    (tmp_path / "source").mkdir()
    count, fired, is_awaited = str(tmp_path / "count"), str(tmp_path / "fired"), point == crash_points.WHILE_RUNNING
    (tmp_path / "source" / "train.py").write_text(SCRIPT.format(count=count, fired=fired, is_awaited=is_awaited))
    first = attempt(tmp_path, 1, f"{point}:{fired}")
    assert first.returncode == -9, first.stderr
    assert (tmp_path / "fired").exists()
    second = attempt(tmp_path, 2)
    assert second.returncode == 0, second.stderr
    record = json.loads(second.stdout)
    assert (tmp_path / "count").read_text() == "x", "the script ran exactly once"
    assert (record["status"], record["outputs"]["files"][0]["size"]) == ("Completed", 50_000)
    folder = tmp_path / "workspace" / "experiments" / "churn"
    assert [run.name for run in folder.iterdir() if (run / "record.json").exists()] == [record["run_id"]]
    assert (folder / record["run_id"] / "run.log").read_text() == "one\ntwo\n"
    shown = [line[5:] for line in (tmp_path / "task.log").read_text().splitlines() if line.startswith("line ")]
    assert [line for line in shown if line in ("one", "two")][-2:] == ["one", "two"] or shown.count("two") == 1


def test_without_the_variable_nothing_happens(monkeypatch):
    monkeypatch.delenv(crash_points.VARIABLE, raising=False)
    for point in POINTS:
        crash_points.crash_point(point)
