"""How far a long step is: a bar on a terminal, a line every few seconds in a log, nothing for what is over at once."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider.scriptrun.runs.reporter import Reporter

#: Steps shorter than this show nothing.
QUIET_SECONDS = 1.0
LOG_INTERVAL_SECONDS = 5.0
BAR_INTERVAL_SECONDS = 0.1
BAR_WIDTH = 30
_UNITS = ("bytes", "KB", "MB", "GB", "TB")


class Progress:
    """Counts one step's bytes (or files) and tells about them now and then. Safe to call very often.

    :param what: the step, as in "Collecting outputs".
    :param total: how much there is in all, when it is known.
    """

    def __init__(
        self,
        reporter: Reporter,
        what: str,
        *,
        total: int | None = None,
        is_terminal: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reporter, self._what, self._total, self._clock = reporter, what, total, clock
        self._is_terminal = is_terminal and sys.stderr.isatty()
        self._interval = BAR_INTERVAL_SECONDS if self._is_terminal else LOG_INTERVAL_SECONDS
        self._due = clock() + QUIET_SECONDS
        self._drawn = False
        self.done = 0

    def advance(self, count: int) -> None:
        """Say that ``count`` more is done."""
        self.reach(self.done + count, self._total)

    def reach(self, done: int, total: int | None = None) -> None:
        """Say that ``done`` of ``total`` is done, in all."""
        self.done, self._total = done, total
        now = self._clock()
        if now >= self._due:
            self._due = now + self._interval
            self._tell()

    def finish(self) -> None:
        """End the bar's line, if one was drawn."""
        if self._drawn and self._is_terminal:
            self._tell()
            sys.stderr.write("\n")
            self._drawn = False

    def _tell(self) -> None:
        self._drawn = True
        amount = readable(self.done) if not self._total else f"{readable(self.done)} of {readable(self._total)}"
        share = min(1.0, self.done / self._total) if self._total else None
        percent = "" if share is None else f" ({share:.0%})"
        if not self._is_terminal:
            self._reporter.note(f"{self._what}: {amount}{percent}")
            return
        bar = "" if share is None else "[" + ("#" * round(share * BAR_WIDTH)).ljust(BAR_WIDTH) + "] "
        sys.stderr.write(f"\r{self._what}: {bar}{amount}{percent}\x1b[K")
        sys.stderr.flush()


def counted(count: int, noun: str) -> str:
    """Return how many of something there are: ``1 file``, ``2 files``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def readable(count: float) -> str:
    """Return a number of bytes as a person says it: ``1.5 MB`` (decimal, as ``df -H`` and disks have it)."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")
