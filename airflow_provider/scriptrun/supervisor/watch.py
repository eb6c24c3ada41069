"""What a supervisor waits for: output, children that end, cancel requests, the lease, the longest duration."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import time

from . import control
from .lease import Lease
from .protocol.status import Reason
from .verdict import Ending

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import List, Optional

    from .layout import RunLayout

#: What a request to cancel may give as its reason, and what a person is told.
MESSAGES = {
    Reason.CANCELED: "It was cancelled by request.",
    Reason.SUPERSEDED: "It was cancelled because its task was cleared; a newer run takes its place.",
    Reason.TIMEOUT: "It was cancelled because its task ran into its execution_timeout.",
    Reason.ORPHANED: "It was cancelled because nobody needs it any more.",
    Reason.UNREACHABLE: "It was cancelled because its target could not be reached for too long.",
}
#: No cancel: only a task's state decides about that, and a signal says nothing of it.
STOPPED = "Its container was stopped: with docker stop, or with the engine or its machine."


class Watch:
    """One per supervisor. ``ending`` is set once, by the first of whatever says that the run must end."""

    def __init__(self, run: RunLayout, orphan_after_s: float) -> None:
        self.ending: Optional[Ending] = None
        self._control = control.Control(run.control)
        self._lease = Lease(run.lease, orphan_after_s)
        self._duration_s: Optional[float] = None
        self._duration_end: Optional[float] = None
        self._wake, wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, _nothing)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._poll = select.poll()
        self._poll.register(self._control.descriptor, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)
        self._source: Optional[int] = None

    def limit_duration(self, duration_s: Optional[float]) -> None:
        """End the run ``duration_s`` from now on (``None``: never). The clock stands still while the host sleeps."""
        self._duration_s = duration_s
        self._duration_end = None if duration_s is None else time.monotonic() + duration_s

    def end(self, reason: Reason, message: str) -> None:
        """Say that the run must end, unless it was said before."""
        if self.ending is None:
            self.ending = Ending(reason, message)

    def wait(self, source: Optional[int], pause: Optional[float]) -> None:
        """Return when ``source`` can be read, a child ends, ``ending`` is set, or after ``pause`` seconds."""
        self._select(source)
        now = time.monotonic()
        if self.ending is None:
            limits = [pause, self._lease.pause(now)]
            if self._duration_end is not None:
                limits.append(max(0.0, self._duration_end - now))
            pause = min((limit for limit in limits if limit is not None), default=None)
        ready = [descriptor for descriptor, _ in self._poll.poll(None if pause is None else math.ceil(pause * 1000))]
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        if self._control.descriptor in ready:
            self._listen()
        self._look_at_the_clock()

    def _select(self, source: Optional[int]) -> None:
        if source != self._source:
            if self._source is not None:
                self._poll.unregister(self._source)
            if source is not None:
                self._poll.register(source, select.POLLIN)
            self._source = source

    def _listen(self) -> None:
        for message in self._control.read():
            if message.get("op") == control.CANCEL:
                try:
                    reason = Reason(message.get("reason"))
                except ValueError:
                    reason = Reason.CANCELED
                self.end(reason, MESSAGES.get(reason, MESSAGES[Reason.CANCELED]))
            elif message.get("op") == control.STOP:
                self.end(Reason.LOST, STOPPED)

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        if self._duration_end is not None and now >= self._duration_end:
            allowed = self._duration_s or 0.0
            self.end(Reason.TIMEOUT, "It ran longer than max_run_duration_seconds allows (%g s)." % allowed)
        if self._lease.has_ended(now):
            self.end(
                Reason.ORPHANED,
                "Nobody watched it for %g s (orphan_after_seconds), so it ended itself." % self._lease.term_s,
            )


def _nothing(*_: object) -> None:
    """Handle SIGCHLD, so that the wake-up descriptor hears of it."""


def ignore_requests_to_leave() -> None:
    """A supervisor ends when its run has: whoever asks for less with a signal would only make the run *lost*."""
    ignored: List[int] = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2]
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
