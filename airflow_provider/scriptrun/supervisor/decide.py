"""Which run answers a start request: one pure function, so that every case can be looked at and tested.

The rules, in this order (the run's state is looked up, and the decision carried out, under the lineage's lock):

1. The asked-for run was cancelled before it started: *canceled*.
2. The lineage has no run yet: *start*.
3. An older try than the latest that asked: *superseded*; nothing is touched.
4. The task was cleared (``max_tries`` differs, or ``clear_number`` differs and the latest run had been delivered): the
   latest run is cancelled, seen dead, and a new one *starts*.
5. The latest run has not started: its starter died, so it *starts*, under its own id.
6. It is not over, or it is Completed: *join* it.
7. It ended otherwise: *join* it (and hear how it ended) when this same try started it, else *start* a new one.
"""

from __future__ import annotations

import enum

from .protocol.status import Status

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Optional


class Attempt:
    """Which try of a task asks. Equal numbers come from the same task instance at the same time of its life."""

    __slots__ = ("clear_number", "delivered", "max_tries", "try_number")

    def __init__(self, try_number: int, max_tries: int, clear_number: int, delivered: bool) -> None:
        self.try_number = try_number  #: grows with every try, over clears too
        self.max_tries = max_tries  #: Airflow raises it when a person clears the task
        self.clear_number = clear_number  #: how often the DAG run was cleared
        self.delivered = delivered  #: whether the lineage's latest run was handed to Airflow as a result


class Latest:
    """The newest run of a lineage, and who asked for it."""

    __slots__ = ("clear_number", "last_try", "max_tries", "run_id", "started_by", "status")

    def __init__(
        self, run_id: str, status: Status, started_by: int, last_try: int, max_tries: int, clear_number: int
    ) -> None:
        self.run_id = run_id
        self.status = status
        self.started_by = started_by  #: number of the try that started it
        self.last_try = last_try  #: number of the last try that started or joined it
        self.max_tries = max_tries
        self.clear_number = clear_number


class Action(enum.Enum):
    """What to do about a start request."""

    START = "start"
    JOIN = "join"
    CANCEL_THEN_START = "cancel then start"
    SUPERSEDED = "superseded"
    CANCELED = "canceled"


class Decision:
    """An action, and the run that it is about: the one to start or join, or the one that took over."""

    __slots__ = ("action", "run_id")

    def __init__(self, action: Action, run_id: str) -> None:
        self.action, self.run_id = action, run_id

    def __repr__(self) -> str:
        return "Decision(%s, %r)" % (self.action, self.run_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decision) and (self.action, self.run_id) == (other.action, other.run_id)

    def __hash__(self) -> int:
        return hash((self.action, self.run_id))


def decide(latest: Optional[Latest], run_id: str, attempt: Attempt, tombstone: bool) -> Decision:
    """Apply the rules above. ``run_id`` is the proposed id; ``tombstone``: that run was cancelled before it started."""
    if tombstone:
        return Decision(Action.CANCELED, run_id)
    if latest is None:
        return Decision(Action.START, run_id)
    if attempt.try_number < latest.last_try:
        return Decision(Action.SUPERSEDED, latest.run_id)
    if is_cleared(latest, attempt):
        return Decision(Action.CANCEL_THEN_START, run_id)
    if latest.status is Status.NOT_STARTED:
        return Decision(Action.START, latest.run_id)
    if not latest.status.is_terminal or latest.status is Status.COMPLETED:
        return Decision(Action.JOIN, latest.run_id)
    if latest.started_by == attempt.try_number:
        return Decision(Action.JOIN, latest.run_id)
    return Decision(Action.START, run_id)


def is_cleared(latest: Latest, attempt: Attempt) -> bool:
    """Whether a person cleared the task since the latest run was asked for."""
    if attempt.max_tries != latest.max_tries:
        return True
    return attempt.clear_number != latest.clear_number and attempt.delivered
