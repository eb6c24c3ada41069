"""How long a run goes on unwatched: a poll touches the run's ``lease`` file, and its supervisor sees that it did.

A session that asks all the time touches it a few times per term. Only a *change* of the modification time counts,
against the supervisor's own monotonic clock: neither a wall clock that jumps nor one that differs between machines ends
a run.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Optional, Tuple

    from .layout import RunLayout

#: The lease is looked at this often per term, but not more often than every 50 ms, nor more seldom than every minute.
LOOKS_PER_TERM = 20
MIN_PAUSE_S, MAX_PAUSE_S = 0.05, 60.0


#: It is renewed this often per term by a session that watches, but at least every 30 s, and where the term is not known
#: (yet) every second: no run that is watched ever comes near its end.
RENEWALS_PER_TERM = 10
LONGEST_RENEWAL_S, UNKNOWN_RENEWAL_S = 30.0, 1.0


class Renewal:
    """The watcher's side of it."""

    def __init__(self, run: RunLayout) -> None:
        self._run = run
        self._pause: Optional[float] = None
        self.due = 0.0  #: when it must be renewed again, by the monotonic clock

    def renew(self, now: float) -> None:
        """Say that somebody watches, if it is time to. A run that is gone needs no lease."""
        if now < self.due:
            return
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._run.lease)
        if self._pause is None:
            self._pause = _renewal_pause(self._run.request)
        self.due = now + (UNKNOWN_RENEWAL_S if self._pause is None else self._pause)


def _renewal_pause(request: str) -> Optional[float]:
    try:
        with open(request, "rb") as file:
            term = float(json.loads(file.read())["limits"]["orphan_after_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return min(term / RENEWALS_PER_TERM, LONGEST_RENEWAL_S) if term > 0 else LONGEST_RENEWAL_S


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
