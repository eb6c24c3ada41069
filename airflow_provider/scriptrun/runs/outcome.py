"""From the way a run ended to the error that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider.scriptrun import errors
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status

if TYPE_CHECKING:
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


def error_for(status: RunStatus, run_id: str, log_uri: str) -> errors.RunFailedError | None:
    """Return the error that a final status amounts to, ``None`` for Completed.

    Its message says how the run ended, where its whole log is, and its last lines (at most 20).
    """
    if status.status is Status.COMPLETED:
        return None
    reason = status.reason
    if reason is None and status.status is Status.CANCELED:
        reason = Reason.CANCELED
    kind = errors.RunFailedError if reason is None else _KINDS.get(reason, errors.RunFailedError)
    if reason is Reason.ENVIRONMENT and status.is_unresolvable:
        kind = errors.ResolutionError
    advice = f"Its whole log is {log_uri}"
    if reason in _ADVICE:
        advice = f"{_ADVICE[reason]}. {advice}"
    return kind(
        f"Run {run_id} ended as {status.status.value}: {_how(status, reason)}",
        why=status.message,
        advice=advice,
        run_id=run_id,
        exit_code=status.exit_code,
        signal=status.signal,
        last_lines=status.last_lines,
    )


def _how(status: RunStatus, reason: Reason | None) -> str:
    if status.signal is not None:
        return f"signal {status.signal} ended the script" + (f" ({reason.value})" if reason else "")
    if status.exit_code is not None and reason in (Reason.SCRIPT, None):
        return f"the script ended with exit code {status.exit_code}"
    return reason.value if reason else "no reason is known"
