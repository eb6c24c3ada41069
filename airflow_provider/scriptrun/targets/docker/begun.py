"""Whether a run has a supervisor, or is over: who starts its container asks the volume, and not the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets import parse

if TYPE_CHECKING:
    from airflow_provider.scriptrun.targets.session import Session


def has_begun(session: Session, run_id: str) -> bool:
    """Return it; of a run that the volume does not know, too, nobody is about to begin anything."""
    runs = parse.Fields(session.ask({"op": "status", "runs": [run_id]}), "the status of runs").inner("runs")
    if not runs.has(run_id):
        return True
    status = parse.run_status(runs.document[run_id], run_id)
    is_promised = status.status is Status.PREPARING and status.supervisor is None
    return status.status is not Status.NOT_STARTED and not is_promised
