"""How many runs go on at once in a root: tickets, in the order in which the runs were ready; ``max_runs`` of them go.

A ticket is a file that its supervisor keeps locked for life. A ticket that nobody holds is a dead run's, and is
skipped. Whoever has to wait stands in ``queue/`` too, so that a run that leaves tells the one that may go next, and
nobody else: a thousand runs that nobody waits behind end without a word to each other.
"""

from __future__ import annotations

import contextlib
import os

from . import control, flock

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Iterator, List, Optional

    from .layout import Layout

#: The first that waits looks by itself this often, as a supervisor that was killed told nobody; the second half as
#: often, and so on, but not more seldom than the longest: a long queue is not to look all the time.
LOOK_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
_DIGITS = 12
_LOCK, _QUEUE = "lock", "queue"


class Ticket:
    """A place in the queue of a root; ``close`` gives it up."""

    def __init__(self, layout: Layout, run_id: str) -> None:
        self._layout, self._run_id = layout, run_id
        self._queue = os.path.join(layout.slots, _QUEUE)
        with _Locked(layout):
            self._number = max((place.number for place in _places(layout.slots)), default=0) + 1
            self._place = _Place(layout.slots, self._number, run_id)
            self._lock = flock.take(self._place.path)
        self._waiting: Optional[_Place] = None
        self._waiting_lock: Optional[int] = None

    def goes(self, limit: int) -> bool:
        """Whether fewer than ``limit`` living runs have an earlier ticket. From ``False`` to ``True`` it waits."""
        with _Locked(self._layout):
            goes = self._count_before(limit) < limit
            if goes == (self._waiting is None):
                return goes
            if not goes:
                self._wait(limit)
                return False
            self._wait_no_more()
            following = self._next_ones()
        self._tell(following)  # two may have left at once, and both have told only the first
        return True

    def pause(self) -> float:
        """Return after how many seconds to look again, if nobody says anything before."""
        ahead = sum(place.number < self._number for place in _places(self._queue))
        return min(LOOK_PAUSE_S * (1 + ahead), LONGEST_PAUSE_S)

    def close(self) -> None:
        """Give the place up, and tell those who are next."""
        lock: Optional[int] = self._lock
        if lock is None:
            return
        self._lock = None
        with _Locked(self._layout):
            self._wait_no_more()
            self._place.remove()
            os.close(lock)
            following = self._next_ones()
        self._tell(following)

    def _count_before(self, limit: int) -> int:
        """Return how many living runs have an earlier ticket, as far as ``limit``; remove the tickets of dead ones."""
        count = 0
        for place in _places(self._layout.slots):
            if place.number >= self._number or count >= limit:
                break
            if flock.is_held(place.path):
                count += 1
            else:
                place.remove()
        return count

    def _wait(self, limit: int) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._queue, 0o700)
        self._waiting = _Place(self._queue, self._number, "%d-%s" % (limit, self._run_id))
        self._waiting_lock = flock.take(self._waiting.path)

    def _wait_no_more(self) -> None:
        if self._waiting is not None and self._waiting_lock is not None:
            self._waiting.remove()
            os.close(self._waiting_lock)
        self._waiting = self._waiting_lock = None

    def _next_ones(self) -> List[str]:
        """Return the first living run of those that wait, and of each other limit: the later ones wait for longer."""
        following = {}
        for place in _places(self._queue):
            limit, _, run_id = place.rest.partition("-")
            if limit not in following:
                if flock.is_held(place.path):
                    following[limit] = run_id
                else:
                    place.remove()
        return list(following.values())

    def _tell(self, run_ids: List[str]) -> None:
        for run_id in run_ids:
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


class _Place:
    """A file that is named by a number, which says whose turn comes first, and by the ``rest``: whose it is."""

    __slots__ = ("number", "path", "rest")

    def __init__(self, folder: str, number: int, rest: str) -> None:
        self.number, self.rest = number, rest
        self.path = os.path.join(folder, "%0*d-%s" % (_DIGITS, number, rest))

    def remove(self) -> None:
        """Remove it, if it is still there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def _places(folder: str) -> Iterator[_Place]:
    """Yield those in a folder, in order; none of a folder that is not there."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    for name in sorted(names):  # the numbers have equally many digits
        number, dash, rest = name.partition("-")
        if dash and number.isdigit():
            yield _Place(folder, int(number), rest)
