"""What passes between a task and its trigger: what to wait for, and why it fired. Imports nothing of Airflow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Why a trigger fired: the run is over; the task's time is; nobody is about to start the run; the target cannot be
#: asked, or could not for so long that the run has surely ended.
OVER, DEADLINE, NOT_STARTED, TROUBLE = "over", "deadline", "not_started", "trouble"


@dataclass(frozen=True)
class Wait:
    """What a trigger waits for: ids and numbers only, since Airflow keeps it in its database as plain JSON.

    :param handle: of the run.
    :param cursor: how far the worker has shown it.
    :param workspace: its URL, where the trigger notes how far it has come.
    :param folder: of the run, in the workspace.
    :param log_uri: where the whole log will be, for a person.
    :param deadline: seconds since the epoch at which the task's ``execution_timeout`` passes; ``None``: never.
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
    secrets: list[str] = field(default_factory=list)
