"""How soon after an answer the next question is asked: at once, unless there is no end of answers."""

from __future__ import annotations

#: A question names every run, which is work for both sides. For each run in it, so much time is to pass in the long
#: run, during which what many lively runs say comes together; but not more than the longest for one question.
SECONDS_PER_RUN, LONGEST_SECONDS = 0.0005, 0.1
#: So much of it may be owed: a few questions go out at once, so that the end of a run is known at once too.
CREDIT_SECONDS = 0.5


class Pace:
    """Counts what is owed. ``now`` is of any clock that only goes forward, in seconds."""

    def __init__(self) -> None:
        self._owed = self._at = 0.0

    def pause(self, now: float, runs: int) -> float:
        """Return how many seconds to wait before the next question, after one about so many runs was answered."""
        self._owed = max(0.0, self._owed - (now - self._at)) + min(SECONDS_PER_RUN * runs, LONGEST_SECONDS)
        self._at = now
        return max(0.0, self._owed - CREDIT_SECONDS)
