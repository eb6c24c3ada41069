"""Many quiet runs on one machine over SSH, watched at once: what it takes, and when an end is known."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from airflow_provider.scriptrun.runs.host_watches import HostWatches
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets.contract import Cursor, Handle, Limits, News, StartRequest
from airflow_provider.scriptrun.targets.registry import open_target
from benchmarks.report import Row, row
from benchmarks.ssh_log import END_MS, submit_job
from benchmarks.ssh_place import OURS, Machine, machine
from tests.network import processes

RUNS = 200
#: Each of the peer's takes as much as the next one, and is a connection of its own.
PEER_RUNS = 20
ROUND_TRIP_S = 0.03
#: Polls wait 20 seconds, so that some of them end meanwhile.
QUIET_S = 25.0
PEER_QUIET_S = 10.0
#: What is promised: 5 % of a core, and so many connections.
CPU_MS_PER_S, CONNECTIONS = 50.0, 2
PATIENCE_S = 120.0
ENVIRONMENT = {"kind": "default", "schema": 1, "delivery": {}}


def rows() -> list[Row]:
    """At a round trip of 30 ms."""
    with machine() as there:
        there.use_root(there.new_folder())
        gate = there.new_folder() / "gate"
        os.mkfifo(gate)
        os.chmod(gate, 0o666)
        handles = _start(there, gate)
        there.link.set_rtt(ROUND_TRIP_S)
        ours = _ours(there, handles, gate)
        peer = asyncio.run(_peer(there))
    name, peer_name = (
        f"{RUNS} quiet runs",
        f"SSHRemoteJobOperator's trigger, {PEER_RUNS} jobs, times {RUNS // PEER_RUNS}",
    )
    end = ROUND_TRIP_S * 1000 + END_MS
    return [
        row(f"{name}: connections (not ms)", ours["connections"], "allowed", CONNECTIONS, 1.0),
        row(f"{name}: connections (not ms)", ours["connections"], peer_name, peer["connections"]),
        row(f"{name}: the watcher's CPU in a second", ours["cpu"], "5 % of a core", CPU_MS_PER_S, 1.0),
        row(f"{name}: the watcher's CPU in a second", ours["cpu"], peer_name, peer["cpu"]),
        row(f"{name}: CPU there in a second, the runs' supervisors too", ours["cpu there"], "", None),
        row(f"end of one of {RUNS} to its reader knowing it", ours["end"], "one round trip + 200 ms", end, 1.0),
    ]


def _start(there: Machine, gate: Path) -> list[Handle]:
    """Return runs that go on until everything of theirs is killed, but for the first, which waits for the gate."""
    limits = Limits(grace_s=1.0)
    with open_target(OURS, there.here) as target:
        commands = [("cat", str(gate)), *[("sleep", "3600")] * (RUNS - 1)]
        requests = [
            StartRequest(
                f"quiet-{number}", f"lineage-{number}", "watching", argv, environment=ENVIRONMENT, limits=limits
            )
            for number, argv in enumerate(commands)
        ]
        return [target.handle(target.start(request), request.lineage) for request in requests]


class _Reader:
    """Takes what it hears of one run."""

    def __init__(self, watches: HostWatches, there: Machine, handle: Handle) -> None:
        self._is_subscribed, self.runs, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.ended_at = 0.0
        self._subscription = watches.follow(handle, Cursor(handle.run_id), self._hear, there.here)
        self._is_subscribed.set()

    def _hear(self, what: Any) -> None:
        self._is_subscribed.wait()
        assert isinstance(what, News), what
        if what.is_last:
            self.ended_at = time.perf_counter()
            self.ended.set()
        elif what.status is not None and what.status.status is Status.RUNNING:
            self.runs.set()
        self._subscription.taken()


def _ours(there: Machine, handles: list[Handle], gate: Path) -> dict[str, float]:
    watches = HostWatches()
    try:
        readers = [_Reader(watches, there, handle) for handle in handles]
        _all(reader.runs for reader in readers)
        there_before = _cpu_there(there)
        with _used() as used:
            time.sleep(QUIET_S)
        spent_there = (_cpu_there(there) - there_before) * 1000 / QUIET_S
        connections = there.link.traffic().open_connections
        gate.write_bytes(b"")
        begun = time.perf_counter()
        _all([readers[0].ended])
    finally:
        watches.close()
    end = (readers[0].ended_at - begun) * 1000
    return {"cpu": used(), "cpu there": spent_there, "connections": connections, "end": end}


async def _peer(there: Machine) -> dict[str, float]:
    """Return the same of the peer's triggers, for as many of them as there are of ours."""
    folder = there.new_folder()
    jobs = [await asyncio.to_thread(submit_job, "sleep 3600", folder) for _ in range(PEER_RUNS)]
    watching = [asyncio.create_task(anext(job.run())) for job in jobs]
    deadline = time.monotonic() + PATIENCE_S
    while there.link.traffic().open_connections < PEER_RUNS:
        if time.monotonic() > deadline:
            raise RuntimeError("the peer does not connect")
        await asyncio.sleep(0.1)
    await asyncio.sleep(5)  # each has looked once
    with _used() as used:
        await asyncio.sleep(PEER_QUIET_S)
    connections = there.link.traffic().open_connections
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    times = RUNS / PEER_RUNS
    return {"cpu": used() * times, "connections": connections * times}


def _all(events: Iterable[threading.Event]) -> None:
    if not all(event.wait(PATIENCE_S) for event in events):
        raise RuntimeError("not every run was heard of")


@contextlib.contextmanager
def _used() -> Iterator[Callable[[], float]]:
    """Hand over what says, afterwards, how many milliseconds of CPU this process took in each second of the block."""
    cpu, wall = time.process_time(), time.perf_counter()
    spent: list[float] = []
    yield lambda: spent[0]
    spent.append((time.process_time() - cpu) * 1000 / (time.perf_counter() - wall))


def _cpu_there(there: Machine) -> float:
    """Return the seconds of CPU that the supervisors there have taken, those of the runs too."""
    ticks = 0
    for process in processes.naming(str(there.folder), there.host.user_id):
        with contextlib.suppress(OSError):  # it is gone
            words = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(words[11]) + int(words[12])  # proc(5): utime and stime
    return ticks / os.sysconf("SC_CLK_TCK")
