"""Putting the root in order after a run, now and then, at low priority, and never at the run's cost."""

from __future__ import annotations

import os
import time

from .. import diagnosis

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Optional

    from ..layout import Layout

#: Looking through a root of many runs takes seconds, so it is not done after each of them.
PAUSE_S = 3600.0
LOWEST_PRIORITY = 19


def keep(
    layout: Layout,
    budget_bytes: Optional[float],
    budget_age_s: Optional[float],
    environment_budget_bytes: Optional[float] = None,
    environment_age_s: Optional[float] = None,
) -> None:
    """Keep the root within its budgets, unless somebody did within the last hour. Failures go to standard error."""
    limits = (budget_bytes, budget_age_s, environment_budget_bytes, environment_age_s)
    try:
        if all(limit is None for limit in limits):
            return
        if _was_cleaned_lately(layout.cleaned):
            return
        os.nice(LOWEST_PRIORITY)
        from . import clean

        clean.keep_budget(layout, *limits)
    except Exception:  # noqa: BLE001  # the run is over and well; tidying up must not change that
        diagnosis.print_exception()


def keep_beside(layout: Layout, *limits: Optional[float]) -> None:
    """The same in a process of its own, for whoever must go on: in a session, whose locks it does not keep."""
    if all(limit is None for limit in limits) or _is_clean(layout.cleaned):
        return
    from .. import script

    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            script.close_all_but({2})
            keep(layout, *limits)
    finally:
        script.end(0)


def _was_cleaned_lately(stamp: str) -> bool:
    if _is_clean(stamp):
        return True
    with open(stamp, "ab"):
        os.utime(stamp)
    return False


def _is_clean(stamp: str) -> bool:
    try:
        # A time that is far ahead was written before a clock was set back, or by a file server with a clock of its own.
        return abs(time.time() - os.stat(stamp).st_mtime) < PAUSE_S
    except FileNotFoundError:
        return False
