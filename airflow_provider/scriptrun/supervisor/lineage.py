"""The runs of one lineage, in the order of their starts, and the lock under which a start decides."""

from __future__ import annotations

import contextlib
import json
import os

from . import flock
from .decide import Latest
from .protocol.atomic import write_atomic
from .protocol.status import Status

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List

    from .decide import Attempt
    from .layout import Layout

#: Older runs of a lineage are forgotten: nobody asks for the run before the hundredth last.
MAX_RUNS = 100
#: Ids that later tries proposed for a run which they joined instead: as many as are kept.
MAX_ALIASES = 20


@contextlib.contextmanager
def locked(layout: Layout, lineage: str) -> Iterator[None]:
    """Hold the lineage's lock, waiting for whoever holds it. A child forked meanwhile must close its copy."""
    lock = flock.wait(layout.lineage_lock(lineage))
    try:
        yield
    finally:
        os.close(lock)


def read(layout: Layout, lineage: str) -> List[Dict[str, Any]]:
    """Return the lineage's runs, the latest last. A record that a power loss emptied counts as none."""
    try:
        with open(layout.lineage(lineage), "rb") as file:
            record = json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return []
    runs: List[Dict[str, Any]] = record["runs"]
    return runs


def append(layout: Layout, lineage: str, run_id: str, attempt: Attempt) -> None:
    """Make ``run_id`` the latest run of the lineage, or note that this attempt starts it after all. Hold the lock."""
    runs = [entry for entry in read(layout, lineage) if entry["id"] != run_id]
    runs.append(
        {
            "id": run_id,
            "started_by": attempt.try_number,
            "last_try": attempt.try_number,
            "max_tries": attempt.max_tries,
            "clear_number": attempt.clear_number,
            "aliases": [],
        }
    )
    _write(layout, lineage, runs)


def join(layout: Layout, lineage: str, proposed: str, attempt: Attempt) -> None:
    """Note that this attempt joined the latest run, instead of starting one under the id it proposed. Hold the lock."""
    runs = read(layout, lineage)
    latest = runs[-1]
    before = dict(latest)
    latest["last_try"] = attempt.try_number
    latest["clear_number"] = attempt.clear_number
    if proposed != latest["id"] and proposed not in latest["aliases"]:
        latest["aliases"] = [*latest["aliases"], proposed][-MAX_ALIASES:]
    if latest != before:
        _write(layout, lineage, runs)


def find(layout: Layout, lineage: str, proposed: str) -> str:
    """Return the id of the run that a request which proposed this id started or joined; the id itself when none did."""
    for entry in reversed(read(layout, lineage)):
        if proposed == entry["id"] or proposed in entry["aliases"]:
            return str(entry["id"])
    return proposed


def latest_of(entry: Dict[str, Any], status: str) -> Latest:
    """Return an entry of the record, with the state that its run is in, as ``decide`` takes it."""
    return Latest(
        run_id=entry["id"],
        status=Status(status),
        started_by=entry["started_by"],
        last_try=entry["last_try"],
        max_tries=entry["max_tries"],
        clear_number=entry["clear_number"],
    )


def _write(layout: Layout, lineage: str, runs: List[Dict[str, Any]]) -> None:
    record = {"lineage": lineage, "runs": runs[-MAX_RUNS:]}
    write_atomic(layout.lineage(lineage), json.dumps(record, separators=(",", ":")))
