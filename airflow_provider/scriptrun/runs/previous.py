"""A lineage whose run is on another target, or another host, than the one that is configured now.

Exactly one: nothing starts here before that run is over, or has surely ended itself because nobody watched it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import OtherHostError, TargetRefusedError
from airflow_provider.scriptrun.runs import lineage
from airflow_provider.scriptrun.runs.lease import over_at
from airflow_provider.scriptrun.runs.lineage import is_handed_over
from airflow_provider.scriptrun.runs.reach import Patience, reach
from airflow_provider.scriptrun.supervisor.protocol.status import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider.scriptrun.runs.lineage import Lineage, LineageStore
    from airflow_provider.scriptrun.runs.reporter import Reporter
    from airflow_provider.scriptrun.runs.settings import Settings
    from airflow_provider.scriptrun.runs.surroundings import Surroundings
    from airflow_provider.scriptrun.runs.trail import Trail
    from airflow_provider.scriptrun.targets.contract import ComputeTarget


def leave(
    ours: Lineage,
    watched_at: float | None,
    surroundings: Surroundings,
    reporter: Reporter,
    should_stop: Callable[[], bool],
) -> None:
    """See the lineage's run dead on the target that it was started on, since another one is configured now.

    Raises :class:`TargetError` when that target cannot be asked until the run has surely ended itself (or, where that
    never is, for ``unreachable_after_seconds``).
    """
    from airflow_provider.scriptrun.targets.registry import open_target

    with open_target(ours.connection, surroundings, host_id=ours.host_id) as target:
        reach(
            reporter,
            lambda: _end(target, ours, reporter),
            should_stop=should_stop,
            patience=patience(ours, watched_at, surroundings.settings, is_here=False),
        )


def _end(target: ComputeTarget, ours: Lineage, reporter: Reporter) -> None:
    status = target.status([ours.run_id]).get(ours.run_id)
    if status is None or status.is_terminal:
        return
    reporter.warning(
        f"Run {ours.run_id} of this task is {status.status.value} on {ours.connection}, and another target is "
        "configured now: it is cancelled first."
    )
    status = target.cancel(ours.run_id, lineage=ours.id, reason=Reason.SUPERSEDED)
    if not status.is_terminal:
        raise TargetRefusedError(
            f"Run {ours.run_id} on {ours.connection} is still {status.status.value}",
            advice="It is being cancelled; the next try starts on the other target",
        )


def patience(ours: Lineage, watched_at: float | None, settings: Settings, *, is_here: bool = True) -> Patience:
    """Return the patience with a target that may have the lineage's run: until that has surely ended itself.

    :param is_here: the target is the one that is configured; one that is not is not waited for without an end.
    """
    at_least = settings.unreachable_after_seconds
    over = _over_at(ours, watched_at)
    if over is not None and at_least:
        seconds: float | None = max(over - time.time(), at_least)
    else:
        seconds = None if is_here or not at_least else at_least
    return Patience(
        seconds,
        advice=f"Run {ours.run_id} was asked for on {ours.connection}; nothing starts elsewhere while it may be alive",
    )


def explain_other_host(error: OtherHostError, ours: Lineage, watched_at: float | None) -> OtherHostError:
    """Return the error with what there is to do about it: the run may be alive where it is."""
    over = _over_at(ours, watched_at)
    if over is None:
        when = "Nothing says that it ends by itself, so somebody has to end it there"
    else:
        left = max(0.0, over - time.time())
        when = f"In {left:.0f} s it will have ended itself, unwatched, and a new try may start here"
    advice = f"Run {ours.run_id} may still be alive there. {when}. See to it that tries of this task reach one host."
    return type(error)(error.what, why=error.why, advice=advice)


def has_surely_ended(ours: Lineage, watched_at: float | None) -> bool:
    """Whether nobody has watched the lineage's run for so long that it must have ended itself."""
    over = _over_at(ours, watched_at)
    return over is not None and time.time() > over


def last_watched(ours: Lineage, store: LineageStore, trail: Trail) -> float | None:
    """Return when somebody last watched a run of this lineage, in seconds since the epoch.

    ``None``: a triggerer watches it, or did, and has left no word of when. That is no reason to take it for dead.
    """
    left = trail.watched_at()
    if left is None and is_handed_over(store):
        return None
    return max(lineage.last_watched(store, ours), left or 0.0)


def _over_at(ours: Lineage, watched_at: float | None) -> float | None:
    if ours.orphan_after_s is None or watched_at is None:
        return None
    return over_at(watched_at, orphan_after_s=ours.orphan_after_s, grace_s=ours.grace_s)
