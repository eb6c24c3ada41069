"""How many runs go on at once in a root: tickets, in the order in which the runs were ready; ``max_runs`` of them go.

A ticket is a file that its supervisor keeps locked for life. A ticket that nobody holds is a dead run's, and is
skipped. A run that leaves tells those that wait.
"""

from __future__ import annotations

import contextlib
import os

from . import control, flock

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import List, Optional, Tuple

    from .layout import Layout

#: A waiting run looks by itself this often, as a supervisor that was killed told nobody.
LOOK_PAUSE_S = 2.0
_DIGITS = 12
_LOCK = "lock"


class Ticket:
    """A place in the queue of a root; ``close`` gives it up."""

    def __init__(self, layout: Layout, run_id: str) -> None:
        self._layout = layout
        with _Locked(layout):
            numbers = [number for number, _ in _tickets(layout)]
            number = max(numbers, default=0) + 1
            self._path = os.path.join(layout.slots, "%0*d-%s" % (_DIGITS, number, run_id))
            self._lock = flock.take(self._path)
        self._number = number

    def before(self) -> int:
        """Return how many living runs have an earlier ticket."""
        with _Locked(self._layout):
            count = 0
            for number, run_id in _tickets(self._layout):
                if number >= self._number:
                    break
                path = os.path.join(self._layout.slots, "%0*d-%s" % (_DIGITS, number, run_id))
                if flock.is_held(path):
                    count += 1
                else:
                    os.unlink(path)
            return count

    def close(self) -> None:
        """Give the place up, and tell those who wait behind it."""
        lock: Optional[int] = self._lock
        if lock is None:
            return
        self._lock = None
        with _Locked(self._layout):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
            os.close(lock)
            waiting = [run_id for number, run_id in _tickets(self._layout) if number > self._number]
        for run_id in waiting:
            control.tell(self._layout.run(run_id).control, {"op": control.LOOK})


class _Locked:
    """The lock of the queue, held for as long as it takes to read a folder."""

    def __init__(self, layout: Layout) -> None:
        self._path = os.path.join(layout.slots, _LOCK)
        self._descriptor = -1

    def __enter__(self) -> None:
        self._descriptor = flock.wait(self._path)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _tickets(layout: Layout) -> List[Tuple[int, str]]:
    """Return (number, run id) of every ticket, in order."""
    found = []
    for name in os.listdir(layout.slots):
        number, dash, run_id = name.partition("-")
        if dash and number.isdigit():
            found.append((int(number), run_id))
    return sorted(found)
