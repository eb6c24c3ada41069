"""The ``cancel`` request: answered when everything of the run is seen dead, or its waiting time has passed."""

from __future__ import annotations

import time

from . import control, journal, lineage, refusal, state
from .protocol.status import Reason, Status
from .refusal import Refusal
from .watch import MESSAGES

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

    from .layout import Layout
    from .serve import Channel

#: Between two looks at a run that is about to end.
PAUSE_S = 0.003
LONGEST_PAUSE_S = 0.1
#: How much longer than it was asked to a cancel waits for somebody who can be told of it.
UNTOLD_S = 5.0


def cancel(request: Dict[str, Any], channel: Channel) -> None:
    """Answer the ``cancel`` request."""
    layout = channel.layout
    run_id = layout.run(request.get("run")).id  # type: ignore[arg-type]  # checked there
    reason = _reason(request.get("reason") or Reason.CANCELED.value)
    name: Optional[str] = request.get("lineage")
    found = lineage.find(layout, name, run_id) if name else run_id
    document = end(layout, found, reason, float(request.get("wait_s") or 0.0))
    channel.writer.json({"run": found, "status": journal.public(document)})


def _reason(name: object) -> Reason:
    for reason in MESSAGES:
        if name == reason.value:
            return reason
    known = ", ".join(reason.value for reason in MESSAGES)
    raise Refusal(refusal.BAD_REQUEST, "cancel: reason is %.100r; it may be %s" % (name, known))


def end(layout: Layout, run_id: str, reason: Reason, wait_s: float) -> Dict[str, Any]:
    """End a run, and return its status when that is a verdict or ``wait_s`` has passed (its supervisor goes on).

    A run that has not started gets a tombstone: its start, when it comes, answers Canceled.
    """
    run = layout.run(run_id)
    deadline = time.monotonic() + wait_s
    told = False
    pause = PAUSE_S
    while True:
        document = state.look(layout, run_id)
        if document is None or document["status"] == Status.NOT_STARTED.value:
            state.write_tombstone(layout, run_id, reason)
            document = state.look(layout, run_id)  # a start that has not seen it holds the run's lock by now
        assert document is not None  # noqa: S101  # there is a tombstone at least
        if journal.is_over(document):
            return document
        told = told or control.tell(run.control, {"op": control.CANCEL, "reason": reason.value})
        # One that cannot be told yet is starting, or just died: either is over in a moment, whatever wait_s says.
        left = deadline - time.monotonic() + (0.0 if told else UNTOLD_S)
        if left <= 0:
            return document
        time.sleep(min(pause, left) if told else PAUSE_S)
        pause = min(2 * pause, LONGEST_PAUSE_S)
