"""From the way a run ended to the error that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider.scriptrun import errors
from airflow_provider.scriptrun.runs import workspace_layout as layout
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider.scriptrun.targets.contract import RunStatus

_KINDS: dict[Reason, type[errors.RunFailedError]] = {
    Reason.SCRIPT: errors.ScriptFailedError,
    Reason.SIGNAL: errors.ScriptFailedError,
    Reason.LAUNCH: errors.ScriptFailedError,
    Reason.OUT_OF_MEMORY: errors.OutOfMemoryError,
    Reason.TIMEOUT: errors.RunTimeoutError,
    Reason.ENVIRONMENT: errors.EnvironmentFailedError,
    Reason.LOST: errors.RunLostError,
    Reason.ORPHANED: errors.RunOrphanedError,
    Reason.CANCELED: errors.RunCanceledError,
    Reason.SUPERSEDED: errors.RunSupersededError,
}

_ADVICE: dict[Reason, str] = {
    Reason.TIMEOUT: "Allow more time with max_run_duration_seconds, or make the script shorter",
    Reason.OUT_OF_MEMORY: "Give it less data at once, or a target with more memory",
    Reason.LOST: "Submit it again; a script that keeps checkpoints in SCRIPTRUN_CHECKPOINTS can go on from them",
    Reason.ORPHANED: "[scriptrun] orphan_after_seconds says how long a run may go on without anyone watching it",
}


#: What ends a run before its script has started: what there is to read about it stands in build.log.
_WHILE_PREPARING = frozenset({Reason.ENVIRONMENT, Reason.SNAPSHOT})
#: So many of the lines that are quoted must end the log too: the log's own tail may be shorter.
SHARED_LINES = 3
#: Behind these words a build's message quotes the tool; the lines end build.log too.
_QUOTATION = " Its last lines:\n"


def error_for(status: RunStatus, run_id: str, uri: Callable[[str], str]) -> errors.RunFailedError | None:
    """Return the error that a final status amounts to, ``None`` for Completed.

    Its message says how the run ended, on which host, why, what to do next, where its whole log is, and its last lines
    (at most 20) once.

    :param uri: where a file of the run is in the workspace, for a person.
    """
    if status.status is Status.COMPLETED:
        return None
    reason = status.reason
    if reason is None and status.status is Status.CANCELED:
        reason = Reason.CANCELED
    kind = errors.RunFailedError if reason is None else _KINDS.get(reason, errors.RunFailedError)
    if reason is Reason.ENVIRONMENT and status.is_unresolvable:
        kind = errors.ResolutionError
    why, last_lines = _told_once(status.message, status.last_lines)
    if reason in (Reason.SCRIPT, Reason.SIGNAL) and (status.exit_code, status.signal) != (None, None):
        why = None  # the target's message says what the first sentence says
    advice = f"Its whole log is {uri(layout.BUILD_LOG if reason in _WHILE_PREPARING else layout.RUN_LOG)}"
    if reason in _ADVICE:
        advice = f"{_ADVICE[reason]}. {advice}"
    where = f" on {status.host.name}" if status.host is not None and status.host.name else ""
    return kind(
        f"Run {run_id} ended as {status.status.value}{where}: {_how(status, reason)}",
        why=why,
        advice=advice,
        run_id=run_id,
        exit_code=status.exit_code,
        signal=status.signal,
        last_lines=last_lines,
    )


def _told_once(message: str | None, last_lines: str | None) -> tuple[str | None, str | None]:
    """Return the message without the lines that it quotes, where the log's last lines hold them, and those lines.

    Behind the last line that is quoted stands the advice. What the log lacks stays in the message.
    """
    head, quotation, rest = (message or "").partition(_QUOTATION)
    if not quotation or not last_lines:
        return message, last_lines
    shown = [line.rstrip() for line in last_lines.splitlines()]
    *quoted, last = rest.split("\n")
    ends = [line for line in shown if last == line or last.startswith(f"{line} ")]
    if not ends or any(line.rstrip() not in shown for line in quoted[-SHARED_LINES:]):
        return message, None  # it quotes what no log has, and its own lines are enough
    advice = last[len(max(ends, key=len)) :].strip()
    return f"{head.rstrip('.')}. {advice}".strip(), last_lines


def _how(status: RunStatus, reason: Reason | None) -> str:
    if status.signal is not None:
        return f"signal {status.signal} ended the script" + (f" ({reason.value})" if reason else "")
    if status.exit_code is not None and reason in (Reason.SCRIPT, None):
        return f"the script ended with exit code {status.exit_code}"
    return reason.value if reason else "no reason is known"
