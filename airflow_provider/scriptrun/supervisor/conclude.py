"""The ``conclude`` request: the verdict of a run that was prepared and cannot begin, as its environment was not made.

``{"op": "conclude", "run", "output", "build", "error", "environment_s"}``. What preparing the run has printed is
``output``, text from the worker, and then what the run printed that built the environment, which ``build`` names;
either may be missing. Without an ``error`` nothing but that is kept. ``environment_s`` is how many seconds it took.
"""

from __future__ import annotations

import contextlib
import os

from . import flock, hello, host, journal, state, tail
from .protocol.atomic import write_atomic
from .protocol.status import Reason, Status
from .refusal import number

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict

    from .layout import Layout
    from .serve import Channel

_MAX_LOG_BYTES = 16 * 1024 * 1024


def conclude(request: Dict[str, Any], channel: Channel) -> None:
    """Answer the ``conclude`` request with the run's status. One that has begun, or is over, is left alone."""
    layout = channel.layout
    run_id = layout.run(request.get("run")).id  # type: ignore[arg-type]  # checked there
    _conclude(layout, run_id, request)
    document = state.look(layout, run_id)
    channel.writer.json({"run": run_id, "status": None if document is None else journal.public(document)})


def _conclude(layout: Layout, run_id: str, request: Dict[str, Any]) -> None:
    run = layout.run(run_id)
    if not os.path.isdir(run.folder):
        return
    alive = flock.take(run.alive)
    if alive is None:
        return
    try:
        if journal.read(run) is not None or os.path.lexists(run.begun) or state.read_tombstone(layout, run_id):
            return
        printed = _printed(layout, request)
        if printed:
            write_atomic(run.build_log, printed)
        error = request.get("error")
        if not isinstance(error, dict):
            return
        document = dict(
            journal.blank(run_id), created_at=journal.now(), host=host.facts(layout), supervisor=hello.version()
        )
        book = journal.Journal(run, document)
        book.write(
            Status.FAILED,
            reason=Reason(error.get("reason")).value,
            message=str(error.get("message") or ""),
            phases={"environment": round(number(request, "environment_s") or 0.0, 4)},
            environment={"resolution": True} if error.get("resolution") else None,
            ended_at=journal.now(),
            last_lines=tail.last_lines(run),
        )
        book.drop_reserve()
    finally:
        os.close(alive)


def _printed(layout: Layout, request: Dict[str, Any]) -> bytes:
    output = request.get("output")
    printed = output.encode("utf-8", "replace")[-_MAX_LOG_BYTES:] if isinstance(output, str) else b""
    if request.get("build"):
        with contextlib.suppress(FileNotFoundError), open(layout.run(request["build"]).build_log, "rb") as file:
            printed += file.read(_MAX_LOG_BYTES)
    return printed
