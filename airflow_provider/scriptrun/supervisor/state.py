"""What state a run is in, told from its files alone; and the end of a run whose supervisor died without a verdict.

In this order: a verdict in ``status.json``; ``alive`` held: what ``status.json`` says, or Starting; nothing written by
a supervisor: cancelled by a tombstone, or NotStarted (a starter died, the next goes on with the same run id); the
verdict again, as it may have come between the looks; else the supervisor is dead: what is left of the run is killed,
seen gone, and then it is ``lost``.
"""

from __future__ import annotations

import json
import os
import time

from . import flock, host, journal, refusal
from .protocol.atomic import write_atomic
from .protocol.status import Reason, Status
from .refusal import Refusal

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

    from .layout import Layout, RunLayout
    from .serve import Channel

#: From the death of a container's first process to that of all others, with much to spare.
CONTAINER_DEATH_S = 0.5


def look(layout: Layout, run_id: str) -> Optional[Dict[str, Any]]:
    """Return the run's status document; ``None`` for a run that this root does not know.

    Raises ``Refusal`` (``not_here``) for a run that is not over and belongs to another machine.
    """
    run = layout.run(run_id)
    document = journal.read(run)
    if document is not None and journal.is_over(document):
        return document
    if document is not None:
        _check_here(layout, run_id, document)
    if flock.is_held(run.alive):
        return journal.read(run) or dict(journal.blank(run_id), status=Status.STARTING.value)
    document = journal.read(run)  # again: the supervisor may have written it, and gone, between the two looks
    if document is None and not os.path.lexists(run.begun):
        return _unstarted(layout, run)
    if document is not None and journal.is_over(document):
        return document
    return _bury(layout, run)


def _unstarted(layout: Layout, run: RunLayout) -> Optional[Dict[str, Any]]:
    mark = read_tombstone(layout, run.id)
    if mark is not None:
        return mark
    return journal.blank(run.id) if os.path.isdir(run.folder) else None


def _check_here(layout: Layout, run_id: str, document: Dict[str, Any]) -> None:
    theirs = document.get("host") or {}
    ours = host.machine_id(layout)
    if theirs.get("id") != ours:
        raise Refusal(
            refusal.NOT_HERE,
            "Run %s is %s on another machine (%s, id %s) that shares the root %s; this is %s, id %s."
            % (run_id, document["status"], theirs.get("name"), theirs.get("id"), layout.root, host.name(), ours),
            "Ask the machine that started it; if it is gone for good, delete runs/%s/status.json." % run_id,
        )


def _bury(layout: Layout, run: RunLayout) -> Dict[str, Any]:
    """Kill what a dead supervisor left, see it gone, write ``lost``. The lock keeps everybody else from doing so."""
    lock = flock.take(run.alive)
    if lock is None:  # somebody is at it, or only asks who holds it: the next look knows
        return journal.read(run) or dict(journal.blank(run.id), status=Status.FINALIZING.value)
    try:
        document = journal.read(run)
        if document is not None and journal.is_over(document):
            return document
        from . import processes

        if _is_contained(run):
            # Its processes are not to be seen from here. The kernel kills them all with the container's first one
            # (pid_namespaces(7)), right after it has let go of that one's locks.
            time.sleep(CONTAINER_DEATH_S)
        elif not processes.sweep(run):
            message = "Its supervisor was killed, and what is left of it does not die from SIGKILL."
            return dict(document or journal.blank(run.id), status=Status.FINALIZING.value, message=message)
        return write_lost(layout, run, document)
    finally:
        os.close(lock)


def _is_contained(run: RunLayout) -> bool:
    """Whether the run has a container of its own."""
    try:
        with open(run.request, "rb") as file:
            launch = json.loads(file.read())["launch"]
    except (OSError, ValueError, KeyError):
        return False
    return isinstance(launch, dict) and launch.get("contained") is True


def write_lost(layout: Layout, run: RunLayout, document: Optional[Dict[str, Any]]) -> Dict[str, Any]:
    """Write and return the verdict ``lost``. For the holder of ``alive``, once every process of the run is gone."""
    from . import memory, tail

    book = journal.Journal(run, document or journal.blank(run.id))
    here = host.facts(layout)
    there = book.document["host"] or here
    if there["boot_id"] != here["boot_id"]:
        reason, message = Reason.LOST, "The host was restarted while the run was %s." % _said(document)
    else:
        reason, message = Reason.LOST, "The run's supervisor was killed while the run was %s." % _said(document)
        killed = memory.explain(book.document.get("memory"), killed=True)
        if killed:
            reason, message = Reason.OUT_OF_MEMORY, "%s %s" % (message, killed)
    book.write(
        Status.FAILED,
        reason=reason.value,
        message=message + " Nothing of it lives any more.",
        ended_at=journal.now(),
        host=there,
        last_lines=tail.last_lines(run),
    )
    book.drop_reserve()
    return book.document


def _said(document: Optional[Dict[str, Any]]) -> str:
    return str(document["status"]) if document else Status.STARTING.value


def write_tombstone(layout: Layout, run_id: str, reason: Reason) -> None:
    """Mark a run as cancelled before it started, durably: its start may come late."""
    mark = {"reason": reason.value, "at": journal.now()}
    write_atomic(layout.tombstone(run_id), json.dumps(mark), durable=True)


def read_tombstone(layout: Layout, run_id: str) -> Optional[Dict[str, Any]]:
    """Return the status of a run that was cancelled before it started; ``None`` when it was not."""
    try:
        with open(layout.tombstone(run_id), "rb") as file:
            mark = json.loads(file.read())
    except FileNotFoundError:
        return None
    return dict(
        journal.blank(run_id),
        serial=journal.PROMISED_SERIAL + 1,
        status=Status.CANCELED.value,
        reason=mark["reason"],
        message="It was cancelled before it started; nothing of it has run.",
        ended_at=mark["at"],
    )


def status(request: Dict[str, Any], channel: Channel) -> None:
    """Answer the ``status`` request: what is known about some runs, or those of a lineage. Renews no lease."""
    from . import lineage, promise

    if "lineage" in request:
        run_ids = [entry["id"] for entry in lineage.read(channel.layout, request["lineage"])]
    else:
        run_ids = request.get("runs") or []
    found = {}
    for run_id in run_ids:
        document = promise.look(channel.layout, run_id)
        if document is not None:
            found[run_id] = journal.public(document)
    channel.writer.json({"runs": found})
