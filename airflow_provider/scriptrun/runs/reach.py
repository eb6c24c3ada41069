"""A target that cannot be reached now: tried again, with growing pauses, and never replaced by another one."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from airflow_provider.scriptrun.errors import TargetUnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider.scriptrun.runs.reporter import Reporter
    from airflow_provider.scriptrun.runs.settings import Settings

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
    :param has_answered: whether it ever has.
    """

    error: TargetUnreachableError
    pause_s: float
    reached_at: float
    has_answered: bool = True


def pauses() -> Iterator[float]:
    """Yield growing pauses in seconds, with jitter, so that many watchers do not come back at once."""
    longest = FIRST_PAUSE_SECONDS
    while True:
        yield longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        longest = min(longest * 2, LONGEST_PAUSE_SECONDS)


class Patience:
    """How long a target may be silent before a try gives up on it. The silence begins now.

    :param seconds: of silence; ``None``: for ever.
    :param advice: what there is to do then.
    """

    def __init__(self, seconds: float | None, *, advice: str | None = None) -> None:
        self._seconds, self._advice = seconds, advice
        self._heard_at = time.monotonic()

    def heard(self) -> None:
        """Begin anew: the target has just said something."""
        self._heard_at = time.monotonic()

    def turn_into(self, other: Patience) -> None:
        """From now on, be as patient as ``other``: what is at stake has changed."""
        self._seconds, self._advice = other._seconds, other._advice
        self.heard()

    def beside(self, progress: Callable[..., object]) -> Callable[..., None]:
        """Return a callback of a long call, whose every progress is a word of the target."""

        def report(*arguments: object) -> None:
            self.heard()
            progress(*arguments)

        return report

    def left_s(self) -> float:
        """Return how much of it is left; 0.0 or less: none."""
        return math.inf if self._seconds is None else self._heard_at + self._seconds - time.monotonic()

    def ended(self, error: TargetUnreachableError) -> TargetUnreachableError:
        """Return ``error`` with how long that has gone on, and what there is to do."""
        silent = time.monotonic() - self._heard_at
        return TargetUnreachableError(
            f"{error.what} (tried for {silent:.0f} s)", why=error.why, advice=self._advice or error.advice
        )


def patience_without_run(settings: Settings) -> Patience:
    """Return the patience of a submission of which no run can be on the target."""
    return Patience(
        settings.unreachable_after_seconds or None,
        advice="Nothing was started. Is the host up, and reachable from here? [scriptrun] unreachable_after_seconds "
        "says how long a submission waits for it",
    )


def reach(
    reporter: Reporter,
    call: Callable[[], Result],
    *,
    should_stop: Callable[[], bool] = lambda: False,
    patience: Patience | None = None,
) -> Result:
    """Return ``call()``, tried again with growing pauses while the target cannot be reached. Never elsewhere.

    Raises :class:`TargetUnreachableError` once ``should_stop()`` is true, or the patience has ended (``None``: never).
    What a target refuses (a login, a host key) is no matter of patience: :class:`TargetRefusedError` is raised at once.
    """
    patience = patience or Patience(None)
    for pause in pauses():
        try:
            return call()
        except TargetUnreachableError as error:  # noqa: PERF203 - a request costs more than a try
            left = patience.left_s()
            if left <= 0:
                raise patience.ended(error) from error
            wait = min(pause, left)
            if not should_stop():
                reporter.warning(f"{error} Trying again in {wait:.0f} s.")
            if not sleep(wait, should_stop):
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
