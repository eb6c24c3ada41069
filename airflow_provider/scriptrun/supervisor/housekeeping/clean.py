"""Keeping a target within its disk budget: after a run's end now and then, and on demand.

What goes, and in which order, ``retention`` decides; ``ended`` and ``stored`` look, and remove; environments
have rules of their own (``environment/budget.py``). One process cleans at a time; nobody who starts, sends, polls or
fetches ever waits for more than a small batch of it.
"""

from __future__ import annotations

import os
import time

from .. import flock, store
from ..hello import version
from ..layout import make_folder
from ..refusal import BAD_REQUEST, Refusal, number
from . import ended, leftovers, removal, retention, stored

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

    from ..layout import Layout
    from ..serve import Channel


def clean(request: Dict[str, Any], channel: Channel) -> None:
    """Answer the ``clean`` request.

    ``{"op": "clean", "budget_bytes": bytes or null, "budget_age_s": seconds or null, "environments": {"budget_bytes",
    "budget_age_s"}}``; null, or nothing, is no limit. The first two are for blobs and for runs that are over, together;
    environments have limits of their own. Answered by ``{"removed": {"runs", "blobs", "snapshots", "environments",
    "tools", "bytes"}, "busy": whether somebody else is cleaning, so that nothing was done}``. ``runs`` counts those of
    which anything went.
    """
    environments = request.get("environments") or {}
    if not isinstance(environments, dict):
        raise Refusal(BAD_REQUEST, "environments must be an object of limits, not %.100r" % (environments,))
    removed = keep_budget(
        channel.layout,
        number(request, "budget_bytes"),
        number(request, "budget_age_s"),
        number(environments, "budget_bytes"),
        number(environments, "budget_age_s"),
    )
    channel.writer.json({"removed": removed or _nothing(), "busy": removed is None})


def keep_budget(
    layout: Layout,
    budget_bytes: Optional[float],
    budget_age_s: Optional[float],
    environment_budget_bytes: Optional[float] = None,
    environment_age_s: Optional[float] = None,
) -> Optional[Dict[str, int]]:
    """Bring the root within its limits, as far as nothing in use or just used has to go; return what was removed.

    ``None`` when another process is cleaning. Raises ``OSError``, for instance on a root that cannot be written.
    """
    lock = flock.take(layout.clean_lock)
    if lock is None:
        return None
    try:
        now = time.time()
        removal.empty(make_folder(layout.trash))  # what a killed cleaner left
        leftovers.remove_temporary(layout, now)
        removed = _clean(layout, retention.Limits(budget_bytes, budget_age_s, store.KEEP_S), now)
        leftovers.remove_tombstones(layout, now)
        leftovers.remove_lineages(layout, now, budget_age_s or 0.0)
        for name, count in _clean_environments(layout, environment_budget_bytes, environment_age_s).items():
            removed[name] = removed.get(name, 0) + count
        with open(layout.cleaned, "ab"):
            os.utime(layout.cleaned)
        return removed
    finally:
        os.close(lock)


def _nothing() -> Dict[str, int]:
    return {"runs": 0, "blobs": 0, "snapshots": 0, "environments": 0, "tools": 0, "bytes": 0}


def _clean(layout: Layout, limits: retention.Limits, now: float) -> Dict[str, int]:
    removed = _nothing()
    runs = ended.survey(layout, now, settle_s=limits.keep_s)
    inventory = stored.Inventory(layout)
    inventory.take(runs.snapshots_in_use)
    plan = retention.choose(runs.over, inventory.snapshots, inventory.bytes, limits, now)
    for facts in runs.over:
        step = plan.runs.get(facts.run_id)
        freed = ended.take(layout, facts, step) if step is not None else None
        if freed is not None:
            removed["runs"] += 1
            removed["bytes"] += freed
    removed["snapshots"] = _drop_manifests(layout, inventory, plan, now)
    loose = inventory.loose(before=now - limits.keep_s)
    removed["blobs"], freed_bytes = stored.remove_blobs(layout, inventory, loose)
    removed["bytes"] += freed_bytes
    removed["tools"], freed_bytes = leftovers.remove_tools(layout, now)
    removed["bytes"] += freed_bytes
    leftovers.remove_supervisors(layout, now, {*runs.supervisors_in_use, version()})
    return removed


def _drop_manifests(layout: Layout, inventory: stored.Inventory, plan: retention.Plan, now: float) -> int:
    """Remove the snapshots that the plan names, and offers whose sender has not come back; return how many went."""
    going = [
        (layout.snapshot(one.snapshot_id), one) for one in inventory.snapshots if one.snapshot_id in plan.snapshots
    ]
    going += [
        (layout.offered(one.snapshot_id), one) for one in inventory.offered if now - one.last_used > stored.OFFER_KEEP_S
    ]
    gone = [one for path, one in going if stored.drop_manifest(layout, path, one.last_used)]
    for one in gone:
        inventory.forget(one)
    return len(gone)


def _clean_environments(layout: Layout, budget_bytes: Optional[float], age_s: Optional[float]) -> Dict[str, int]:
    from .. import environment

    return environment.clean(layout, budget_bytes=None if budget_bytes is None else int(budget_bytes), max_age_s=age_s)
