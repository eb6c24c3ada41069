"""Runs that are over: what they take, and how they go, step by step, without getting in the way of a start.

A run goes only while its ``alive`` lock and its lineage's lock are held here, and after another look: neither a start,
nor a poll, nor another cleaner can be at it then.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback

from .. import flock, journal, state
from ..protocol.atomic import write_atomic
from ..protocol.status import Status
from ..refusal import Refusal
from ..store import tree
from . import removal
from .retention import RunFacts, Step

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Collection, Dict, Iterable, Iterator, List, Optional, Set

    from ..layout import Layout, RunLayout

#: What comes back from a run stays when its working copy goes.
RESULTS = (b"outputs", b"logs")


class Survey:
    """Every run of a target: those that are over, and what the others need."""

    def __init__(self) -> None:
        self.over: List[RunFacts] = []
        self.snapshots_in_use: Set[str] = set()
        self.supervisors_in_use: Set[str] = set()


def survey(layout: Layout, now: float, settle_s: float) -> Survey:
    """Look at every run. One that nobody lives for, and that has been quiet for ``settle_s``, is given its verdict."""
    found = Survey()
    for run_id in layout.run_ids():
        run = layout.run(run_id)
        try:
            _look(layout, run, now - last_used(run) > settle_s, found)
        except (OSError, ValueError, KeyError, TypeError):
            # Written by a newer supervisor, or spoiled: the others must be looked at all the same.
            sys.stderr.write("%s cannot be judged, and is left alone\n" % run.folder)
            traceback.print_exc()
    return found


def _look(layout: Layout, run: RunLayout, quiet: bool, found: Survey) -> None:
    document = _document(layout, run, quiet)
    if _may_go(document):
        size = _size(run)
        collected = os.path.exists(run.collected)
        found.over.append(RunFacts(run.id, last_used(run), size["code"], size["rest"], collected))
    else:
        _note_needs(run, document, found)


def _document(layout: Layout, run: RunLayout, quiet: bool) -> Dict[str, Any]:
    """Return the run's status. Only of a quiet run is it asked for with all that a look may mean."""
    document = journal.read(run)
    if quiet and not journal.is_over(document):
        with contextlib.suppress(Refusal):  # another machine's, on a root that several share: not for us to judge
            document = state.look(layout, run.id)
    return document or dict(journal.blank(run.id), status=Status.STARTING.value)


def _may_go(document: Dict[str, Any]) -> bool:
    """Whether the run is over. One whose starter died counts too: once it is old, nobody comes to start it."""
    return journal.is_over(document) or document["status"] == Status.NOT_STARTED.value


def _note_needs(run: RunLayout, document: Dict[str, Any], found: Survey) -> None:
    request = _request(run)
    inputs = request.get("inputs")
    parts = inputs.values() if isinstance(inputs, dict) else ()
    found.snapshots_in_use.update(_texts([request, *parts], "snapshot"))
    found.supervisors_in_use.update(_texts([document], "supervisor"))


def _texts(documents: Iterable[Any], name: str) -> List[str]:
    values = [document.get(name) for document in documents if isinstance(document, dict)]
    return [value for value in values if isinstance(value, str)]


def _request(run: RunLayout) -> Dict[str, Any]:
    try:
        with open(run.request, "rb") as file:
            request = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return request if isinstance(request, dict) else {}


def last_used(run: RunLayout) -> float:
    """Return when the run last changed, was watched or was collected, in seconds since the epoch."""
    times = _changes(run.status, run.lease, run.collected) or _changes(run.folder)
    return max(times, default=0.0)


def _changes(*paths: str) -> List[float]:
    times = []
    for path in paths:
        with contextlib.suppress(OSError):
            times.append(os.stat(path).st_mtime)
    return times


def _size(run: RunLayout) -> Dict[str, int]:
    """Return the bytes of a run that is over: of ``code`` without its results, and of the ``rest``. Measured once."""
    try:
        with open(run.size, "rb") as file:
            size = json.loads(file.read())
        return {"code": int(size["code"]), "rest": int(size["rest"])}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    results = sum(tree.measure(path).bytes for path in (run.outputs, run.logs))
    code = max(0, tree.measure(run.code).bytes - results)
    size = {"code": code, "rest": max(0, tree.measure(run.folder).bytes - code)}
    _note_size(run, size)
    return size


def _note_size(run: RunLayout, size: Dict[str, int]) -> None:
    with contextlib.suppress(OSError):  # a full disk: it is measured again next time
        write_atomic(run.size, json.dumps(size))


def take(layout: Layout, facts: RunFacts, step: Step) -> Optional[int]:
    """Remove that much of a run; return the bytes that this freed, ``None`` when the run is in use after all."""
    run = layout.run(facts.run_id)
    with _held(layout, run) as ours:
        if not ours or last_used(run) > facts.last_used or not _is_still_over(run):
            return None
        freed = facts.code_bytes
        if step is Step.STRIP:
            _clear(run.code, RESULTS, layout)
            _note_size(run, {"code": 0, "rest": facts.rest_bytes})
            return freed
        freed += facts.rest_bytes
        if step is Step.HOLLOW:
            _clear(run.folder, _verdict_names(run), layout)
            _note_size(run, {"code": 0, "rest": 0})
            return freed
        removal.remove(run.folder, layout.trash)
        return freed


def _verdict_names(run: RunLayout) -> List[bytes]:
    """Return the names of the files that say how a run ended, and that it did."""
    paths = (run.status, run.request, run.begun, run.alive, run.lease, run.collected, run.size)
    return [os.fsencode(os.path.basename(path)) for path in paths]


def _clear(folder: str, keep: Collection[bytes], layout: Layout) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # a script may have put anything there, or nothing
        removal.clear(folder, keep, layout.trash)


def _is_still_over(run: RunLayout) -> bool:
    document = journal.read(run)
    return journal.is_over(document) if document is not None else not os.path.lexists(run.begun)


def _lineage(run: RunLayout) -> Optional[str]:
    about = _request(run).get("run")
    name = about.get("lineage") if isinstance(about, dict) else None
    return name if isinstance(name, str) and name else None


@contextlib.contextmanager
def _held(layout: Layout, run: RunLayout) -> Iterator[bool]:
    """Hold the locks of a run's lineage and life, without waiting; say whether that was possible."""
    name = _lineage(run)
    paths = [layout.lineage_lock(name)] if name is not None else []
    locks: List[int] = []
    try:
        for path in [*paths, run.alive]:
            lock = flock.take(path)
            if lock is None:
                break
            locks.append(lock)
        yield len(locks) == len(paths) + 1
    finally:
        for lock in locks:
            os.close(lock)
