"""A target that cannot be reached now: tried again, with growing pauses, and never replaced by another one."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from airflow_provider.scriptrun.errors import TargetUnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider.scriptrun.runs.reporter import Reporter

Result = TypeVar("Result")

#: Pauses between tries to reach a target grow from the first to the last, each drawn from its upper half.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 60.0
#: How often ``should_stop`` is asked in a pause.
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Trouble:
    """A target could not be reached just now.

    :param pause_s: when it is tried again.
    :param reached_at: when it last answered (or when it was first asked), by the monotonic clock.
    """

    error: TargetUnreachableError
    pause_s: float
    reached_at: float


def pauses() -> Iterator[float]:
    """Yield growing pauses in seconds, with jitter, so that many watchers do not come back at once."""
    longest = FIRST_PAUSE_SECONDS
    while True:
        yield longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        longest = min(longest * 2, LONGEST_PAUSE_SECONDS)


def reach(
    reporter: Reporter,
    call: Callable[[], Result],
    *,
    should_stop: Callable[[], bool] = lambda: False,
    deadline: float | None = None,
) -> Result:
    """Return ``call()``, tried again with growing pauses while the target cannot be reached. Never elsewhere.

    Raises :class:`TargetUnreachableError` once ``should_stop()`` is true, or ``deadline`` (``time.monotonic``) passed.
    """
    for pause in pauses():
        try:
            return call()
        except TargetUnreachableError as error:  # noqa: PERF203 - a request costs more than a try
            if should_stop() or (deadline is not None and time.monotonic() + pause > deadline):
                raise
            reporter.warning(f"{error} Trying again in {pause:.0f} s.")
            if not sleep(pause, should_stop):
                raise
    raise AssertionError("unreachable")


def sleep(seconds: float, should_stop: Callable[[], bool]) -> bool:
    """Wait, and return whether the time passed before ``should_stop()`` was true."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if should_stop():
            return False
        time.sleep(min(LOOK_SECONDS, left))
    return not should_stop()
