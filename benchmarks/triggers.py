"""1,000 runs watched by 1,000 triggers in one triggerer, against 1,000 of Airflow's own time triggers.

Real are the triggerer (``airflow triggerer`` on PostgreSQL), the rows in its database, and 1,000 runs of a shell script
on this host, all there at once, each with its own guard and supervisor. First, while the runs go on unwatched, the
triggerer has 1,000 time triggers; then, started anew, the triggers of the runs. Left out are API server, scheduler and
workers: rows are written as the API server would, and nobody takes up a task that a trigger woke.

Time triggers fire, and runs end, at the same pace. When runs end, their supervisors work on the same two cores, which
nothing does for time triggers. The lag is that of a probe, a trigger that sleeps 10 ms again and again. The triggers of
both kinds are subclasses that note when they fire, and are otherwise as they come.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airflow_provider.scriptrun.runs.workspace_layout import run_folder
from airflow_provider.scriptrun.targets.contract import ComputeTarget, Cursor, Handle, Limits, StartRequest
from airflow_provider.scriptrun.targets.registry import LOCAL, open_target
from airflow_provider.scriptrun.triggers.wait import OVER, Wait
from benchmarks.place import Place, place
from benchmarks.processes import cpu_s, memory_bytes
from benchmarks.report import Row, row
from benchmarks.triggerer import PATIENCE_S, Database, Triggerer, database

RUNS = 1000
#: So many end, or fire, in a second.
PACE = 25.0
#: Between the writing of their rows and the first time trigger's moment: they must all be waiting before it is quiet.
#: On a machine that is too slow for that, once more with more.
AHEAD_S = (95.0, 400.0)
#: A time trigger wakes up every second from twenty seconds before its moment on: quiet is what is before that.
RESTLESS_S = 21.0
QUIET_S = 15.0
#: What the start has stirred up has settled by then.
SETTLE_S = 3.0
#: Two measurements of the same thing differ by so much: in three runs the 99th percentile of a quiet time was 0.65 to
#: 0.96 of the peer's. "No worse" is promised of that, and of the longest while runs end: the longest of a quiet time is
#: the machine's own, as is the longest while runs end where something else computes on it.
NOISE = 1.1
#: The script's last word says when it ended.
SCRIPT = 'read line < "$0"; date +%s.%N'
ENVIRONMENT = {"kind": "default", "schema": 1, "delivery": {}}
LIMITS = Limits(orphan_after_s=86400.0)
EXPERIMENT = "benchmark"
#: A trigger's class path and arguments; and a task that was woken: its number, when, with which event.
_Trigger = tuple[str, dict[str, Any]]
_Woken = tuple[int, float, Any]
OURS = "benchmarks.timed_triggers.TimedScriptRunTrigger"
PEER = "benchmarks.timed_triggers.TimedDateTimeTrigger"
#: What a trigger has logged once it waits.
OURS_WAITS, PEER_WAITS = " is running", "trigger starting"


@dataclass(frozen=True)
class _Measured:
    """What was seen of the triggers of one kind. Times in milliseconds, but for ``cpu``: the share of a core."""

    bytes_each: float
    cpu: float
    quiet: list[float]  #: lag
    busy: list[float]  #: lag, from the first end to the last event
    fired: list[float]  #: from an end to its trigger's event
    woken: list[float]  #: from an end to the task's going on in the database


def rows() -> list[Row]:
    """One row for each number, ours and the peer's."""
    with place() as here:
        options = {
            "AIRFLOW__SCRIPTRUN__LOCAL_ROOT": here.settings.local_root,
            "AIRFLOW__SCRIPTRUN__WORKSPACE": here.settings.workspace,
            "AIRFLOW__SCRIPTRUN__CACHE_DIRECTORY": here.settings.cache_directory,
            "AIRFLOW__SCRIPTRUN__TRIGGERER_SHARES_HOST": "True",
        }
        # the probe is one more
        with database(here.base_directory, RUNS + 1, options) as data, _runs(here) as runs:
            peer = _time_triggers(data)
            ours = _our_triggers(data, here, runs)
    quiet, busy = "lag of the event loop, all is quiet", f"lag of the event loop, {PACE:.0f} end in a second"
    lags = [
        _lag(f"{quiet}, median", ours.quiet, peer.quiet, statistics.median, None),
        _lag(f"{quiet}, p99", ours.quiet, peer.quiet, _p99, NOISE),
        _lag(f"{quiet}, max", ours.quiet, peer.quiet, max, None),
        _lag(f"{busy}, median", ours.busy, peer.busy, statistics.median, None),
        _lag(f"{busy}, p99", ours.busy, peer.busy, _p99, NOISE),
        _lag(f"{busy}, max", ours.busy, peer.busy, max, NOISE),
    ]
    time_triggers = f"{RUNS} time triggers"
    return [
        row("runs that ended, for each event that came (not ms)", RUNS, "events", len(ours.woken), 1.0),
        *lags,
        _delay("end to its trigger's event", ours.fired, peer.fired),
        _delay("end to the task's going on in the database", ours.woken, peer.woken),
        row(
            "memory of the triggerer for each run (KB, not ms)",
            ours.bytes_each / 1e3, time_triggers, peer.bytes_each / 1e3,
        ),
        row(
            "CPU of the event loop's process, all is quiet (% of a core, not ms)",
            ours.cpu * 100, time_triggers, peer.cpu * 100,
        ),
    ]  # fmt: skip


def _lag(
    name: str, ours: list[float], peer: list[float], pick: Callable[[list[float]], float], target: float | None
) -> Row:
    return row(name, pick(ours), f"{RUNS} time triggers", pick(peer), target)


def _delay(name: str, ours: list[float], peer: list[float]) -> Row:
    slowest = f"{RUNS} time triggers (slowest: {max(ours):.0f} / {max(peer):.0f})"
    return row(name, statistics.median(ours), slowest, statistics.median(peer))


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def _time_triggers(data: Database) -> _Measured:
    for ahead in AHEAD_S:
        with Triggerer(data, f"peer-{ahead:.0f}").running() as triggerer:
            begin = time.time() + ahead
            moments = [begin + number / PACE for number in range(RUNS)]
            times = [datetime.fromtimestamp(at, timezone.utc).isoformat() for at in moments]
            triggers = [(PEER, {"target_time": at, **triggerer.notes(number)}) for number, at in enumerate(times, 1)]
            bytes_each = _load(triggerer, triggers, PEER_WAITS)
            spare = begin - RESTLESS_S - QUIET_S - time.time()
            if spare < 0:
                continue
            time.sleep(spare)
            cpu, quiet = _quiet(triggerer)
            time.sleep(max(0.0, moments[-1] - time.time()))
            woken = triggerer.until_woken(RUNS)
            return _measured(triggerer, bytes_each, cpu, quiet, dict(enumerate(moments, 1)), woken)
    raise RuntimeError(f"this machine is too slow, or too busy, to start {RUNS} time triggers in {AHEAD_S[-1]:.0f} s")


def _our_triggers(data: Database, here: Place, runs: _Runs) -> _Measured:
    with Triggerer(data, "ours").running() as triggerer:
        waits = [asdict(_wait(here, handle)) for handle in runs.handles]
        triggers = [(OURS, {"wait": wait, **triggerer.notes(number)}) for number, wait in enumerate(waits, 1)]
        bytes_each = _load(triggerer, triggers, OURS_WAITS)
        time.sleep(SETTLE_S)
        cpu, quiet = _quiet(triggerer)
        runs.end_all()
        woken = [one for one in triggerer.until_woken(RUNS) if one[2]["why"] == OVER]
        return _measured(triggerer, bytes_each, cpu, quiet, runs.ends(), woken)


def _wait(here: Place, handle: Handle) -> Wait:
    """Return what an operator that defers hands over."""
    return Wait(
        handle=handle.document(),
        cursor=Cursor(handle.run_id).document(),
        workspace=here.settings.workspace,
        folder=run_folder(EXPERIMENT, handle.run_id),
        log_uri="run.log",
        orphan_after_s=LIMITS.orphan_after_s,
    )


def _load(triggerer: Triggerer, triggers: list[_Trigger], waits: str) -> float:
    """Let all of them wait, one before the others; return how much memory each of these others takes."""
    triggerer.defer(1, triggers[:1])
    triggerer.until_logged(range(1, 2), waits)
    time.sleep(SETTLE_S)
    before = memory_bytes(triggerer.runner)
    triggerer.defer(2, triggers[1:])
    triggerer.until_logged(range(2, len(triggers) + 1), waits)
    return (memory_bytes(triggerer.runner) - before) / (len(triggers) - 1)


def _quiet(triggerer: Triggerer) -> tuple[float, list[float]]:
    """Return how much of a core the event loop's process takes, and how late the loop is."""
    begin, spent = time.time(), cpu_s(triggerer.runner)
    time.sleep(QUIET_S)
    end = time.time()
    return (cpu_s(triggerer.runner) - spent) / (end - begin), triggerer.lags(begin, end)


def _measured(
    triggerer: Triggerer, bytes_each: float, cpu: float, quiet: list[float], ends: dict[int, float], woken: list[_Woken]
) -> _Measured:
    fired = [(at - ends[number]) * 1000 for number, at in triggerer.fired()]
    return _Measured(
        bytes_each=bytes_each,
        cpu=cpu,
        quiet=[lag * 1000 for lag in quiet],
        busy=[lag * 1000 for lag in triggerer.lags(min(ends.values()), max(at for _, at, _ in woken))],
        fired=fired,
        woken=[(at - ends[number]) * 1000 for number, at, _ in woken],
    )


class _Runs:
    """Runs that wait for a line each; number 1 is the first."""

    def __init__(self, target: ComputeTarget, gate: Path) -> None:
        self._target, self._gate, self._left = target, gate, RUNS
        os.mkfifo(gate)
        self._door = os.open(gate, os.O_RDWR)
        self.handles: list[Handle] = []

    def start(self) -> None:
        """Start all of them."""
        for number in range(RUNS):
            lineage = uuid.uuid4().hex
            argv = ("sh", "-c", SCRIPT, str(self._gate))
            request = StartRequest(f"run-{number}", lineage, EXPERIMENT, argv, environment=ENVIRONMENT, limits=LIMITS)
            self.handles.append(self._target.handle(self._target.start(request), lineage))

    def end_all(self) -> None:
        """Let them end, one after the other; which one is next is the kernel's choice."""
        begin = time.monotonic()
        for number in range(RUNS):
            time.sleep(max(0.0, begin + number / PACE - time.monotonic()))
            self._end(1)

    def ends(self) -> dict[int, float]:
        """Return when each script ended, in seconds since the epoch."""
        logs = [Path(self._target.root, "runs", handle.run_id, "run.log") for handle in self.handles]
        return {number: float(log.read_text()) for number, log in enumerate(logs, 1)}

    def close(self) -> None:
        """End those that go on, and return once all of them are over."""
        self._end(self._left)
        waited_until = time.monotonic() + PATIENCE_S
        identifiers = [handle.run_id for handle in self.handles]
        while not all(status.status.is_terminal for status in self._target.status(identifiers).values()):
            if time.monotonic() > waited_until:
                raise TimeoutError(f"some of {RUNS} runs do not end")
            time.sleep(1.0)
        os.close(self._door)

    def _end(self, count: int) -> None:
        os.write(self._door, b"\n" * count)
        self._left -= count


@contextlib.contextmanager
def _runs(here: Place) -> Iterator[_Runs]:
    """Start the runs. They end at the end."""
    with open_target(LOCAL, here) as target:
        runs = _Runs(target, here.base_directory / "gate")
        try:
            runs.start()
            yield runs
        finally:
            runs.close()
