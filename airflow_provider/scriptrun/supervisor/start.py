"""The ``start`` request: optimistic, and idempotent however often it is sent and wherever its sender dies.

Everything is decided and done under the lineage's lock. A starter that dies leaves either nothing, a run that has not
started (the next starter goes on with it, under its id), or a run with a supervisor, which needs no starter.
"""

from __future__ import annotations

import json
import os
import time

from . import cancel, control, crash, flock, guard, journal, lineage, refusal, state, tail
from .ask import StartRequest
from .decide import Action, decide
from .layout import make_folder
from .protocol.atomic import write_atomic
from .protocol.status import Reason, Status
from .refusal import Refusal

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    from .layout import Layout, RunLayout
    from .serve import Channel

#: Somebody who asks whether a lock is held holds it himself for microseconds.
LOCK_PAUSE_S = 0.001
#: Beyond the grace: how long a killed run may take to be seen gone before a start in its place gives up.
DEATH_S = 60.0
#: The outcome of a start whose run a container is to take.
PREPARED = "prepared"
#: A start names at most this many earlier runs that may be collected.
MAX_PREVIOUS = 10


def start(request: Dict[str, Any], channel: Channel) -> None:
    """Answer the ``start`` request."""
    ask = StartRequest(request)
    with lineage.locked(channel.layout, ask.lineage):
        crash.point("start.locked")
        answer = _answer(channel.layout, ask)
    channel.writer.json(answer)
    if answer["outcome"] == PREPARED:
        _keep_house(channel, ask)


def _keep_house(channel: Channel, ask: StartRequest) -> None:
    """Put the root in order now and then, as its runs, in containers of their own, cannot."""
    from . import housekeeping

    channel.writer.flush()  # nobody waits for this
    housekeeping.keep_beside(
        channel.layout, ask.budget_bytes, ask.budget_age_s, ask.environment_budget_bytes, ask.environment_age_s
    )


def _answer(layout: Layout, ask: StartRequest) -> Dict[str, Any]:
    runs = lineage.read(layout, ask.lineage)
    latest = None
    if runs:
        document = state.look(layout, runs[-1]["id"])
        if document is not None:
            latest = lineage.latest_of(runs[-1], document["status"])
        elif runs[-1]["id"] == ask.run_id:
            raise Refusal(refusal.NO_SUCH_RUN, "Run %s has ended, and its folder was removed since." % ask.run_id)
    decision = decide(latest, ask.run_id, ask.attempt, _is_buried(layout, ask.run_id))
    if decision.action is Action.CANCELED:
        return {"outcome": "canceled", "run_id": ask.run_id}
    if decision.action is Action.SUPERSEDED:
        return {"outcome": "superseded", "run_id": decision.run_id, "try_number": runs[-1]["last_try"]}
    if decision.action is Action.JOIN:
        lineage.join(layout, ask.lineage, ask.run_id, ask.attempt)
        return _accepted(layout, ask, decision.run_id, joined=True)
    if ask.is_contained and latest is not None:
        _forget_damaged(layout, latest.run_id)
    missing = [snapshot for snapshot in ask.snapshots() if not _has_snapshot(layout, snapshot)]
    tools = _tools(layout, ask)
    if missing or tools:
        bases = ask.bases if ask.snapshot in missing else ()
        base = next((base for base in bases if _has_snapshot(layout, base)), None)
        return {"outcome": "missing", "snapshots": missing, "base": base, "tools": tools}
    if decision.action is Action.CANCEL_THEN_START and latest is not None:
        _end(layout, latest.run_id, latest.status, ask)
    return _begin(layout, ask, decision.run_id)


def _is_buried(layout: Layout, run_id: str) -> bool:
    """Whether the run was cancelled before it started."""
    return state.read_tombstone(layout, run_id) is not None


def _has_snapshot(layout: Layout, snapshot_id: str) -> bool:
    from . import store

    return store.has_snapshot(layout, snapshot_id)


def _forget_damaged(layout: Layout, run_id: str) -> None:
    """Forget what the lineage's last run found damaged, as its container could not: the store is not its to change."""
    document = journal.read(layout.run(run_id))
    run = layout.run(run_id)
    if document is None or document["reason"] != Reason.SNAPSHOT.value or os.path.exists(run.forgotten):
        return
    from . import store

    with open(run.request, "rb") as file:
        request = json.loads(file.read())
    for snapshot in [request["snapshot"], *(one["snapshot"] for one in request["inputs"].values())]:
        if snapshot is not None:
            store.drop_snapshot(layout, snapshot)
    write_atomic(run.forgotten, b"")  # what is sent anew must not be forgotten again


def _tools(layout: Layout, ask: StartRequest) -> List[str]:
    """Return the programs that must be sent first; note where those that are offered and here are."""
    if not ask.offers:
        return []
    from . import lent

    ask.tools.update(lent.borrowed(layout, ask.environment, ask.offers))
    return lent.wanted(layout, ask.environment, ask.offers)


def _end(layout: Layout, run_id: str, status: Status, ask: StartRequest) -> None:
    """See the lineage's run dead, because a person has cleared its task."""
    if status is Status.NOT_STARTED and run_id == ask.run_id:
        return
    if not status.is_terminal:
        document = cancel.end(layout, run_id, Reason.SUPERSEDED, ask.grace_s + DEATH_S)
        if not journal.is_over(document):
            raise Refusal(
                refusal.INTERNAL,
                "Run %s, which this start takes the place of, does not die: %s" % (run_id, document["message"]),
                "Its processes hang in the kernel, or run as another user. End them, then try again.",
            )


def _begin(layout: Layout, ask: StartRequest, run_id: str) -> Dict[str, Any]:
    """Start the run, going on from wherever an earlier starter of it died."""
    ask.run_id = run_id
    run = layout.run(run_id)
    found = state.look(layout, run_id)
    if found is not None and found["status"] == Status.CANCELED.value and _is_buried(layout, run_id):
        return {"outcome": "canceled", "run_id": run_id}  # since the decision was made
    if found is not None and found["status"] != Status.NOT_STARTED.value:
        raise Refusal(
            refusal.BAD_REQUEST,
            "There is a run %s already, and it is %s: a new run needs a new id." % (run_id, found["status"]),
        )
    make_folder(run.folder)
    crash.point("start.folder")
    make_folder(layout.checkpoint(ask.lineage))
    write_atomic(run.context, json.dumps(ask.context))
    write_atomic(run.request, json.dumps(ask.without_secrets()))
    control.make(run.control)
    os.close(os.open(run.lease, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    os.utime(run.lease)
    journal.reserve(run)
    crash.point("start.files")
    lineage.append(layout, ask.lineage, run_id, ask.attempt)
    crash.point("start.recorded")
    if ask.is_contained:
        return _prepared(layout, ask, run)
    alive = _take(run)
    try:
        crash.point("start.alive")
        # Looked at again now that nobody else can take the run: whoever cancels from here on finds it alive.
        if _is_buried(layout, run_id):
            return {"outcome": "canceled", "run_id": run_id}
        failure = guard.launch(layout, ask, alive)
    finally:
        os.close(alive)
    crash.point("start.acknowledged")
    if failure:
        raise OSError(failure, os.strerror(failure), run.folder)
    if failure is None and not journal.is_over(state.look(layout, run_id)):
        said = tail.read(run.supervisor_log) or ""
        raise Refusal(refusal.INTERNAL, "The supervisor of run %s ended at once. %s" % (run_id, said))
    return _accepted(layout, ask, run_id, joined=False)


def _prepared(layout: Layout, ask: StartRequest, run: RunLayout) -> Dict[str, Any]:
    """Answer that a container may take the run: whoever asks starts it, and its first process does the rest.

    Until that holds ``alive``, the run has not started; whoever asks for it again is answered the same. Who watches it
    is told that it is Preparing, until whoever asked leaves it, or dies.
    """
    from . import promise

    promise.give(run)
    writable = [run.folder, layout.checkpoint(ask.lineage)]
    if ask.max_runs is not None:
        writable.append(layout.slots)
    return {
        "outcome": PREPARED,
        "run_id": run.id,
        "writable": [os.path.relpath(folder, layout.root) for folder in writable],
        "previous": _previous(layout, ask.lineage, run.id),
    }


def _take(run: RunLayout) -> int:
    while True:
        alive = flock.take(run.alive)
        if alive is not None:
            return alive
        time.sleep(LOCK_PAUSE_S)


def _accepted(layout: Layout, ask: StartRequest, run_id: str, joined: bool) -> Dict[str, Any]:
    document = journal.read(layout.run(run_id)) or state.look(layout, run_id) or journal.blank(run_id)
    return {
        "outcome": "accepted",
        "run_id": run_id,
        "status": journal.public(document),
        "joined": joined,
        "previous": _previous(layout, ask.lineage, run_id),
    }


def _previous(layout: Layout, name: str, run_id: str) -> List[str]:
    """Return the lineage's earlier runs that ended otherwise than Completed and are still here, the latest first."""
    found = []
    for entry in reversed(lineage.read(layout, name)):
        document: Optional[Dict[str, Any]] = journal.read(layout.run(entry["id"])) if entry["id"] != run_id else None
        if document and journal.is_over(document) and document["status"] != Status.COMPLETED.value:
            found.append(entry["id"])
    return found[:MAX_PREVIOUS]
