"""That a worker is about to begin a run in a container: until it does, the run is Preparing, and not abandoned.

A worker that was answered ``prepared`` has an image made first, which may take long. The promise is a lock of its
session: whatever the worker dies of, the run then has not started, and the next one begins it. Nothing is decided by a
promise: to :func:`.state.look`, and so to every start and cancel, the run has not started; only who watches is told.
"""

from __future__ import annotations

import os
import time

from . import flock, journal, state
from .protocol.status import Status

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

    from .layout import Layout, RunLayout
    from .serve import Channel

MESSAGE = "Its image is being prepared."
#: Somebody else who asks whether there is a promise looks like one, for microseconds.
_PAUSE_S = 0.001

#: The promises of this session: run id -> descriptor of its lock.
_held: Dict[str, int] = {}


def give(run: RunLayout) -> None:
    """Promise to begin the run, until :func:`leave` or the end of the session. Several sessions may do so at once."""
    if run.id not in _held:
        _held[run.id] = flock.share(run.promised)


def leave(request: Dict[str, Any], channel: Channel) -> None:
    """Answer the ``leave_run`` request: this session has begun the run, or gives up; with the run's status.

    ``{"op": "leave_run", "run"}``, answered by ``{"status": ...}``, ``null`` for a run that is not known.
    """
    run = channel.layout.run(request.get("run"))  # type: ignore[arg-type]  # checked there
    descriptor = _held.pop(run.id, None)
    if descriptor is not None:
        os.close(descriptor)
    document = look(channel.layout, run.id)
    channel.writer.json({"status": None if document is None else journal.public(document)})


def look(layout: Layout, run_id: str) -> Optional[Dict[str, Any]]:
    """Return what :func:`.state.look` does, for somebody who watches: Preparing where somebody will begin the run."""
    document = state.look(layout, run_id)
    if document is None or document["status"] != Status.NOT_STARTED.value or not _is_given(layout.run(run_id)):
        return document
    return dict(document, serial=journal.PROMISED_SERIAL, status=Status.PREPARING.value, message=MESSAGE)


def _is_given(run: RunLayout) -> bool:
    if not flock.is_held(run.promised, shared=True):
        return False
    time.sleep(_PAUSE_S)
    return flock.is_held(run.promised, shared=True)
