"""What passes between a task and its trigger: what to wait for, and why it fired. Imports nothing of Airflow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Why a trigger fired: the run is over; the task's time is; nobody is about to start the run; the target cannot be
#: asked, or could not for so long that the run has surely ended.
OVER, DEADLINE, NOT_STARTED, TROUBLE = "over", "deadline", "not_started", "trouble"

#: No trigger fires sooner after its task deferred. The scheduler hears of a deferral in its next round, which takes
#: seconds where it is busy, and fails a task ("finished with state success, but the task instance's state attribute is
#: queued") whose trigger has fired before: apache/airflow issues 66374 and 67287.
SETTLE_SECONDS = 5.0


@dataclass(frozen=True)
class Wait:
    """What a trigger waits for: ids and numbers only, since Airflow keeps it in its database as plain JSON.

    :param handle: of the run.
    :param cursor: how far the worker has shown it.
    :param workspace: its URL, where the trigger notes how far it has come.
    :param folder: of the run, in the workspace.
    :param log_uri: where the whole log will be, for a person.
    :param deadline: seconds since the epoch at which the task's ``execution_timeout`` passes; ``None``: never.
    :param not_before: seconds since the epoch before which the trigger does not fire.
    :param secrets: references to the secrets that the script was given, to hide them in what it prints.
    """

    handle: dict[str, Any]
    cursor: dict[str, Any]
    workspace: str
    folder: str
    log_uri: str
    orphan_after_s: float | None = None
    grace_s: float = 30.0
    deadline: float | None = None
    not_before: float = 0.0
    secrets: list[str] = field(default_factory=list)
