"""200 runs watched at once on one host: what they cost while they are quiet, and how soon the end of one is known."""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from airflow_provider.scriptrun.runs.host_watch import HostWatch
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets.contract import Cursor, Limits, News, StartRequest, Stream
from airflow_provider.scriptrun.targets.registry import LOCAL, open_target
from benchmarks.place import Place, place
from benchmarks.processes import cpu_s, servers
from benchmarks.report import Row, row

RUNS = 200
QUIET_S = 20.0
#: So many end one after the other, each while the others go on: with a pause between, and without.
ENDS = 21
PAUSE_S = 0.5
ALLOWED_CPU_PERCENT = 5.0
#: Beyond one round trip.
END_MS = 200.0
#: All are running by then, or something is wrong.
PATIENCE_S = 300.0
#: What starting them has stirred up has settled by then.
SETTLE_S = 3.0
SCRIPT = 'read line < "$0"; date +%s.%N'
DEFAULT_ENVIRONMENT = {"kind": "default", "schema": 1, "delivery": {}}


def rows() -> list[Row]:
    """On this host; a machine over SSH is measured in ``ssh_watching``."""
    with place() as here, _runs(here, LOCAL, here.base_directory, RUNS) as many:
        return [*_quiet(many, "local"), *_ends(many, "local", 0.0)]


class _Many:
    """Runs that wait for a line, each with a reader of one watch."""

    def __init__(self, root: str, watch: HostWatch, door: int) -> None:
        self.root, self._watch, self._door = root, watch, door
        self._changed = threading.Condition()
        self._running: set[str] = set()
        self._ends: dict[str, float] = {}

    def follow(self, run_id: str) -> None:
        """Read its news."""
        log: list[bytes] = []

        def hear(news: object) -> None:
            if not isinstance(news, News) or news.status is None:
                return
            known = time.time()
            log.append(news.data(Stream.RUN_LOG))
            with self._changed:
                if news.status.status is Status.RUNNING:
                    self._running.add(run_id)
                if news.is_last:
                    self._ends[run_id] = (known - float(b"".join(log))) * 1000
                self._changed.notify_all()
            ready.wait()
            subscription.taken()

        ready = threading.Event()
        followed = self._watch.follow(Cursor(run_id), hear)
        assert followed is not None
        subscription = followed
        ready.set()

    def are_running(self, count: int) -> None:
        """Return once so many run."""
        self._wait(lambda: len(self._running) >= count)

    def end(self, count: int) -> None:
        """Let so many end, and return once all of them are known to have."""
        expected = len(self._ends) + count
        os.write(self._door, b"\n" * count)
        self._wait(lambda: len(self._ends) >= expected)

    def latest_ms(self) -> float:
        """Return how long after its last word the latest end was known."""
        return self._ends[next(reversed(self._ends))]

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, PATIENCE_S):
                raise RuntimeError(f"{len(self._running)} run, and {len(self._ends)} have ended")


@contextlib.contextmanager
def _runs(here: Place, name: str, folder: Path, count: int) -> Iterator[_Many]:
    """Start runs on the target of this name; ``folder`` is one that both sides see. They end at the end."""
    gate = folder / "gate"
    os.mkfifo(gate)
    os.chmod(gate, 0o666)
    door = os.open(gate, os.O_RDWR)
    run_ids = [f"run-{number}" for number in range(count)]
    with open_target(name, here) as target:
        for run_id in run_ids:
            target.start(
                StartRequest(
                    run_id, uuid.uuid4().hex, "benchmark", argv=("sh", "-c", SCRIPT, str(gate)),
                    environment=DEFAULT_ENVIRONMENT, limits=Limits(orphan_after_s=86400.0),
                )
            )  # fmt: skip
        root = target.root
    watch = HostWatch(open_target(name, here))
    many = _Many(root, watch, door)
    for run_id in run_ids:
        many.follow(run_id)
    many.are_running(count)
    try:
        yield many
    finally:
        many.end(count - len(many._ends))
        watch.close()
        os.close(door)


def _quiet(many: _Many, where: str) -> list[Row]:
    time.sleep(SETTLE_S)
    serving = servers(many.root)
    begun, ours, theirs = time.monotonic(), time.process_time(), sum(map(cpu_s, serving))
    time.sleep(QUIET_S)
    took = time.monotonic() - begun
    ours, theirs = time.process_time() - ours, sum(map(cpu_s, serving)) - theirs
    name = f"200 quiet runs, {where}, "
    return [
        row(
            f"{name}watcher (% of a core, not ms)", ours / took * 100,
            f"{ALLOWED_CPU_PERCENT:.0f} %", ALLOWED_CPU_PERCENT, 1.0,
        ),
        row(f"{name}{len(serving)} session on the target (% of a core, not ms)", theirs / took * 100, "", None),
    ]  # fmt: skip


def _ends(many: _Many, where: str, rtt_s: float) -> list[Row]:
    return [
        _end(many, f"end of one of 200 runs to its reader knowing it, {where}", rtt_s, PAUSE_S),
        _end(many, f"the same, one end right after the other, {where}", rtt_s, 0.0),
    ]


def _end(many: _Many, name: str, rtt_s: float, pause_s: float) -> Row:
    said = []
    for _ in range(ENDS):
        time.sleep(pause_s)
        many.end(1)
        said.append(many.latest_ms())
    peer = f"one round trip + {END_MS:.0f} ms (slowest: {max(said):.0f})"
    return row(name, statistics.median(said), peer, rtt_s * 1000 + END_MS, 1.0)
