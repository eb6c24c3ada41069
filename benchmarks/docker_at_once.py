"""Many runs at once on one engine: how often their environment is built, how many sockets they need, how long it takes.

Each run says what no other one does, and its log is compared; where they find no environment, each has an exit code of
its own, too. Builds are counted by the engine's events: containers that were made for one.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from airflow_provider.scriptrun import Experiment, Workspace
from airflow_provider.scriptrun.runs.run import Run
from benchmarks import docker_place
from benchmarks.docker_place import Engine
from benchmarks.place import kept
from benchmarks.processes import sockets
from benchmarks.report import Row, row
from scripts import docker_engine

AT_ONCE = 20
#: What a run may have: its session, its watch, its container's input, and what Docker's client keeps.
SOCKETS_EACH = 5
LINES = 1000
SCRIPT = f"""
import sys
import iniconfig
for line in range({LINES}):
    print("line", line, "of run", sys.argv[1])
sys.exit(int(sys.argv[2]))
"""
_PAUSE_S = 0.01


def rows(folder: Path, engine: Engine) -> list[Row]:
    """Builds and sockets of runs that find no environment; milliseconds of runs that do."""
    many = _Many(folder, engine)
    builds, peak = many.from_nothing()
    at_once, alone = many.milliseconds()
    what = f"{AT_ONCE} runs at once without their environment, each log and exit code right"
    return [
        row(f"{what}: builds (not ms)", builds, "allowed", 1.0, 1.0),
        row("the same: sockets more at the peak (not ms)", peak, "allowed", AT_ONCE * SOCKETS_EACH, 1.0),
        row(f"{AT_ONCE} runs at once, environment there, each", at_once, "one after the other, each", alone, 1.0),
    ]


class _Many:
    def __init__(self, folder: Path, engine: Engine) -> None:
        self._experiment = Experiment(Workspace(str(folder / "workspace")), "many")
        self._environment = docker_place.new_packages(folder)
        self._volume = engine.volume
        self._script = folder / "many" / "own.py"
        self._script.parent.mkdir()
        self._script.write_text(SCRIPT)

    def from_nothing(self) -> tuple[int, int]:
        """Return how many builds there were, and how many more sockets than before at a time."""
        labels = (f"label=scriptrun.volume={self._volume}", "label=scriptrun.kind=build", "event=create")
        filters = [word for label in labels for word in ("--filter", label)]
        # as they come: an engine remembers no more than its last 256
        command = ("docker", "--host", docker_engine.url(), "events", "--since", str(time.time()), *filters)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:
            try:
                runs, peak = self._watched()
            finally:
                events.terminate()
            builds = len(events.communicate()[0].splitlines())
        told = sum(not docker_place.reuses(one) for one in runs)
        if builds == 0 or builds != told:
            raise RuntimeError(f"the engine has seen {builds} builds, and {told} runs say that theirs was built")
        return builds, peak

    def milliseconds(self) -> tuple[float, float]:
        """Return what a run takes among many, and alone."""
        begun = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            runs = list(pool.map(self._run, range(AT_ONCE)))
        between = time.perf_counter()
        runs += map(self._run, range(AT_ONCE))
        ended = time.perf_counter()
        if not all(map(docker_place.reuses, runs)):
            raise RuntimeError("a run built an environment that was there")
        return (between - begun) * 1000 / AT_ONCE, (ended - between) * 1000 / AT_ONCE

    def _watched(self) -> tuple[Sequence[Run], int]:
        before = peak = len(sockets(os.getpid()))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            submitted = [pool.submit(self._run, number, number) for number in range(AT_ONCE)]
            while not all(one.done() for one in submitted):
                peak = max(peak, len(sockets(os.getpid())))
                time.sleep(_PAUSE_S)
        return [one.result() for one in submitted], peak - before

    def _run(self, number: int, exit_code: int = 0) -> Run:
        arguments = (str(number), str(exit_code))
        one, _ = docker_place.run(self._experiment, self._script, self._environment, arguments, exit_code)
        if kept(one, "run.log").read_text() != "".join(f"line {line} of run {number}\n" for line in range(LINES)):
            raise RuntimeError(f"the log of {one.id} is not what its script wrote")
        return one
