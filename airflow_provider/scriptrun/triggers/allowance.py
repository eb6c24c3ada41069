"""How much of what scripts print may pass through a triggerer: its triggers share Airflow's one way for log lines.

Airflow takes 4 KB of that way in each round, between its questions to the database. What is more than that stays in it,
and once it is full, every trigger waits that has something to say: so does the news that it has fired.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: For all triggers of a process together. With a database that is near, a triggerer takes several times as much.
BYTES_PER_SECOND = 32 * 1024
#: What was not used is kept so long. Half of it is the most that comes at once, and fits into the pipe (208 KB).
KEPT_SECONDS = 4.0
#: What Airflow puts around each line: which trigger, task and try it is of, when it was.
LINE_BYTES = 300


class Allowance:
    """Fills with time, up to a limit. For one thread.

    :param clock: in seconds, only goes forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._at = clock, clock()
        self._left = self._most = BYTES_PER_SECOND * KEPT_SECONDS

    def take(self, data: bytes) -> int:
        """Return how many of these bytes of a log may be shown now: up to a line's end, where there is one.

        One trigger gets no more than half of what is left, so that those find some whose scripts say little.
        """
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * BYTES_PER_SECOND)
        self._at = now
        price, most = _price(data), self._left / 2
        count = len(data)
        if price > most:
            count = int(count * most / price)
            count = data.rfind(b"\n", 0, count) + 1 or count
            price = _price(data[:count])
        self._left -= min(price, self._left)
        return count


def _price(data: bytes) -> int:
    return len(data) + LINE_BYTES * (data.count(b"\n") + 1) if data else 0


#: Of this process.
shared = Allowance()
