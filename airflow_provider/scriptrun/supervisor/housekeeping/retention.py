"""What goes when a target is over its budget: a pure function, so that every case can be looked at and tested.

In this order, until what is left is within the budget:

1. Whatever was last used longer ago than the greatest age: snapshots, and whole runs that are over.
2. Of runs that are over, least recently used first: the working copy, but for ``outputs/`` and ``logs/``.
3. Snapshots, and of runs that were collected all but their verdict, least recently used first. (The verdict stays
   until the greatest age: a late try of a Completed run must still find that it Completed.)

What is in use, or was used within ``keep_s``, never goes, however far over the budget it is.
"""

from __future__ import annotations

import enum
import functools
import itertools

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Callable, Collection, Dict, Iterator, List, Optional, Tuple


class Step(enum.Enum):
    """How much of a run goes."""

    STRIP = "strip"  #: its working copy, but for outputs and logs
    HOLLOW = "hollow"  #: all but its verdict
    REMOVE = "remove"


class RunFacts:
    """A run that is over."""

    __slots__ = ("code_bytes", "collected", "last_used", "rest_bytes", "run_id")

    def __init__(self, run_id: str, last_used: float, code_bytes: int, rest_bytes: int, collected: bool) -> None:
        self.run_id = run_id
        self.last_used = last_used  #: seconds since the epoch, as all times of these facts
        self.code_bytes = code_bytes  #: of the working copy, without outputs and logs
        self.rest_bytes = rest_bytes
        self.collected = collected  #: whether somebody has stored all that they want of it


class SnapshotFacts:
    """A snapshot that is complete, or still on its way."""

    __slots__ = ("blobs", "last_used", "pinned", "snapshot_id")

    def __init__(self, snapshot_id: str, last_used: float, blobs: Collection[int], pinned: bool) -> None:
        self.snapshot_id = snapshot_id
        self.last_used = last_used
        self.blobs = blobs  #: indexes into the list of blob sizes
        self.pinned = pinned  #: whether a run that is not over still needs it


class Plan:
    """What is to go: for some runs a step, and some snapshots."""

    def __init__(self) -> None:
        self.runs: Dict[str, Step] = {}
        self.snapshots: Dict[str, None] = {}  #: in the order in which they go
        self.bytes = 0  #: that this frees


class Limits:
    """How much may stay, and for how long. ``None`` is no limit."""

    __slots__ = ("budget_bytes", "keep_s", "max_age_s")

    def __init__(self, budget_bytes: Optional[float], max_age_s: Optional[float], keep_s: float) -> None:
        self.budget_bytes, self.max_age_s, self.keep_s = budget_bytes, max_age_s, keep_s


def choose(
    runs: List[RunFacts], snapshots: List[SnapshotFacts], blob_bytes: List[int], limits: Limits, now: float
) -> Plan:
    """Apply the rules above. ``blob_bytes`` are the sizes of all blobs; those that no snapshot names go anyway."""
    choice = _Choice(blob_bytes, snapshots)
    unused_runs = sorted(
        (run for run in runs if now - run.last_used >= limits.keep_s), key=lambda run: (run.last_used, run.run_id)
    )
    unused_snapshots = sorted(
        (one for one in snapshots if not one.pinned and now - one.last_used >= limits.keep_s),
        key=lambda one: (one.last_used, one.snapshot_id),
    )
    if limits.max_age_s is not None:
        for run in unused_runs:
            if now - run.last_used > limits.max_age_s:
                choice.take_run(run, Step.REMOVE)
        for one in unused_snapshots:
            if now - one.last_used > limits.max_age_s:
                choice.take_snapshot(one)
    if limits.budget_bytes is not None:
        excess = sum(run.code_bytes + run.rest_bytes for run in runs) + choice.named_bytes - limits.budget_bytes
        for take in _by_budget(unused_runs, unused_snapshots, choice):
            if choice.plan.bytes >= excess:
                break
            take()
    return choice.plan


def _by_budget(runs: List[RunFacts], snapshots: List[SnapshotFacts], choice: _Choice) -> Iterator[Callable[[], None]]:
    """Yield what may be taken for the budget, in the order of the rules. Both lists are in the order of their use."""
    for run in runs:
        yield functools.partial(choice.take_run, run, Step.STRIP)
    takes: List[Tuple[float, Callable[[], None]]] = [
        (run.last_used, functools.partial(choice.take_run, run, Step.HOLLOW)) for run in runs if run.collected
    ]
    takes += [(one.last_used, functools.partial(choice.take_snapshot, one)) for one in snapshots]
    takes.sort(key=lambda item: item[0])
    for _, take in takes:
        yield take


class _Choice:
    """A plan in the making: taking the same twice frees it once."""

    def __init__(self, blob_bytes: List[int], snapshots: List[SnapshotFacts]) -> None:
        self.plan = Plan()
        self._blob_bytes = blob_bytes
        self._uses = [0] * len(blob_bytes)
        for one in snapshots:
            for blob in one.blobs:
                self._uses[blob] += 1
        self.named_bytes = sum(itertools.compress(blob_bytes, self._uses))

    def take_run(self, run: RunFacts, step: Step) -> None:
        taken = self.plan.runs.get(run.run_id)
        if taken is Step.REMOVE or taken is step:
            return
        gain = 0 if taken is Step.STRIP else run.code_bytes
        if step is not Step.STRIP:
            gain += run.rest_bytes
        if gain or step is Step.REMOVE:
            self.plan.runs[run.run_id] = step
            self.plan.bytes += gain

    def take_snapshot(self, one: SnapshotFacts) -> None:
        if one.snapshot_id in self.plan.snapshots:
            return
        self.plan.snapshots[one.snapshot_id] = None
        for blob in one.blobs:
            self._uses[blob] -= 1
            if not self._uses[blob]:
                self.plan.bytes += self._blob_bytes[blob]
