"""What a signal to a task means. The task's state decides, never the signal.

``on_kill`` runs when a person ended or cleared the task, and as well when its worker is being stopped, when the API
server was away for three heartbeats, when a deploy moves it. Killing hours of training for the latter would be wrong.
"""

from __future__ import annotations

import enum
from typing import Any

import structlog

log = structlog.get_logger(__name__)

#: States in which nobody will come back for the run: the task has ended, or was cleared while it ran.
ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed", "restarting"})
RUNNING = "running"


class Verdict(enum.Enum):
    """What becomes of the run when its task is told to stop."""

    CANCEL = "cancel"  #: a person ended or cleared the task, or its DAG run is gone
    RESCHEDULE = "reschedule"  #: this try is still the task's own: it asks Airflow to go on with it elsewhere
    LEAVE = "leave"  #: another try follows, or Airflow cannot be asked: the run is left alone


def judge(states: dict[str, dict[str, str | None]], *, run_id: str, task_id: str, map_index: int) -> Verdict:
    """Return the verdict for one task from ``get_task_states``' answer: ``{run id: {task id[_map index]: state}}``.

    No entry at all means that the task or its DAG run was deleted. An entry without a state is one that the scheduler
    reset to run it again: whether a person had cleared it is for the next try to say, which knows more.
    """
    name = task_id if map_index < 0 else f"{task_id}_{map_index}"
    tasks = states.get(run_id) or {}
    if name not in tasks:
        return Verdict.CANCEL
    state = tasks[name]
    if state in ENDED:
        return Verdict.CANCEL
    return Verdict.RESCHEDULE if state == RUNNING else Verdict.LEAVE


def is_made_again(ours: Any, there: Any) -> bool:
    """Return whether a DAG run is another one than ours, which was deleted: it began at another moment.

    One of which tasks were cleared begins anew as well, and says how often that has been.

    :param ours: the DAG run of a worker's task, as it was when that began; ``there``: as Airflow has it now.
    """
    if ours.start_date is None or there.start_date == ours.start_date:
        return False
    return (there.clear_number or 0) <= (ours.clear_number or 0)


def ask(ti: Any, dag_run: Any = None) -> Verdict:
    """Ask Airflow for the state of the task and judge. Not for a signal handler: it talks to the API server.

    :param ti: the task instance of a worker or of a trigger: its ids are asked about.
    :param dag_run: a worker's DAG run. A trigger may ask for none: it takes the task of another DAG run, if that was
        made under the same name within seconds, for its own.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    map_index = -1 if ti.map_index is None else ti.map_index
    try:
        states = RuntimeTaskInstance.get_task_states(
            dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=None if map_index < 0 else map_index
        )
        verdict = judge(states, run_id=ti.run_id, task_id=ti.task_id, map_index=map_index)
        if verdict is not Verdict.CANCEL and dag_run is not None and is_made_again(dag_run, _fetch(dag_run)):
            verdict = Verdict.CANCEL
    except Exception as error:  # noqa: BLE001  whatever the reason: not knowing must not kill a run
        log.warning("Airflow does not say what became of this task; its run is left alone.", error=str(error))
        return Verdict.LEAVE
    return verdict


def _fetch(dag_run: Any) -> Any:
    """Return a DAG run as Airflow has it now."""
    from airflow.sdk.execution_time import comms, task_runner

    question = comms.GetDagRun(dag_id=dag_run.dag_id, run_id=dag_run.run_id)
    return task_runner.SUPERVISOR_COMMS.send(question)
