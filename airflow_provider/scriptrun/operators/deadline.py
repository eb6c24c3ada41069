"""The task's ``execution_timeout``, as something that is asked about.

Airflow raises its timeout from a signal handler, at whatever line the task is. In the middle of a question to the API
server that would leave half an answer behind, which the next question would take for its own. So the alarm is noted
first, for the loop that follows the run to see; only where nothing looks at it in time, Airflow's own handler raises.
"""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType, TracebackType

#: An alarm at once; none at all would be one in 0 s.
_AT_ONCE_SECONDS = 0.001
#: How long a step that does not look (a large snapshot is hashed, a target does not answer) may go on after the alarm.
LAST_CHANCE_SECONDS = 15.0


class Deadline:
    """Whether the task's time is over. Use as a context manager around what takes the time.

    :param is_set: whether the task has an ``execution_timeout``; an alarm of anybody else's is left alone.
    :param until: when it passes, in seconds since 1970, for a task that was deferred: Airflow counts anew behind a
        trigger. ``None``: when Airflow says.
    """

    def __init__(self, *, is_set: bool, until: float | None = None) -> None:
        self.passed = False
        self._until = until
        self._is_set = is_set and threading.current_thread() is threading.main_thread()
        self._airflows: Any = None

    def __enter__(self) -> Deadline:
        if self._is_set:
            self._airflows = signal.signal(signal.SIGALRM, self._on_alarm)
            if self._until is not None:
                left, _ = signal.getitimer(signal.ITIMER_REAL)
                ours = max(_AT_ONCE_SECONDS, self._until - time.time())
                signal.setitimer(signal.ITIMER_REAL, min(left, ours) if left else ours)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._airflows is not None:
            signal.signal(signal.SIGALRM, self._airflows)

    def seconds_left(self) -> float | None:
        """Return how long the task may go on; ``None``: for ever. What Airflow set its alarm to is what counts."""
        if self._airflows is None:
            return None
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        return left or None

    def heed(self) -> None:
        """Say that the deadline was seen: what follows (cancelling, collecting) is not interrupted any more."""
        self.passed = True
        if self._airflows is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        if self.passed:
            self._airflows(number, frame)
        self.passed = True
        signal.setitimer(signal.ITIMER_REAL, LAST_CHANCE_SECONDS)
