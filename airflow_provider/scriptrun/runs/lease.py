"""When a run that nobody watches has surely ended itself, as far as can be told without asking its target.

Every poll renews a run's lease on the target, and what is stored here about polls is older than they are. So a watcher
stores at least every :data:`WATCHED_SECONDS` that it watches, also when it has nothing to show, and whoever reads that
counts on polls until the next time that it would have been stored.
"""

from __future__ import annotations

#: A watcher stores that it watches at least so often. Each time is a request to Airflow's API server.
WATCHED_SECONDS = 300.0
#: For clocks that run apart, the supervisor's own pace (it looks at a lease every minute at least), and a watcher that
#: was held up between a poll and what it stores about it.
LEASE_MARGIN_SECONDS = 120.0


def over_at(watched_at: float, *, orphan_after_s: float, grace_s: float) -> float:
    """Return from when on the run has surely ended itself, in seconds of the clock of ``watched_at``.

    :param watched_at: when it was last stored that somebody watches.
    :param grace_s: that the script has between SIGTERM and SIGKILL.
    """
    return watched_at + WATCHED_SECONDS + orphan_after_s + grace_s + LEASE_MARGIN_SECONDS


def longest_silence_s(*, orphan_after_s: float | None, grace_s: float) -> float | None:
    """Return after how many seconds, in which nobody can have watched it, a run has surely ended itself.

    :param orphan_after_s: the term of its lease; ``None``: it never does.
    """
    return None if orphan_after_s is None else orphan_after_s + grace_s + LEASE_MARGIN_SECONDS
