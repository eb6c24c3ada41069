"""How long a run goes on unwatched: every poll touches the run's ``lease`` file, and its supervisor sees that it did.

Only a *change* of the modification time counts, against the supervisor's own monotonic clock: neither a wall clock that
jumps nor one that differs between machines ends a run.
"""

from __future__ import annotations

import contextlib
import os
import time

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Optional, Tuple

#: The lease is looked at this often per term, but not more often than every 50 ms, nor more seldom than every minute.
LOOKS_PER_TERM = 20
MIN_PAUSE_S, MAX_PAUSE_S = 0.05, 60.0


def renew(path: str) -> None:
    """Say that somebody watches. A run that is gone needs no lease."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)


class Lease:
    """The supervisor's side of it. ``term_s`` 0 never ends."""

    def __init__(self, path: str, term_s: float) -> None:
        self._path = path
        self.term_s = term_s
        self._pause = min(max(term_s / LOOKS_PER_TERM, MIN_PAUSE_S), MAX_PAUSE_S)
        self._seen = self._time()
        self._since = self._next_look = time.monotonic()

    def pause(self, now: float) -> Optional[float]:
        """Return in how many seconds it must be looked at again; ``None`` for never."""
        return max(0.0, self._next_look - now) if self.term_s > 0 else None

    def has_ended(self, now: float) -> bool:
        """Whether nobody has watched for the whole term."""
        if self.term_s <= 0 or now < self._next_look:
            return False
        self._next_look = now + self._pause
        seen = self._time()
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since >= self.term_s

    def _time(self) -> Tuple[int, int]:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return 0, 0
        return found.st_mtime_ns, found.st_ino
