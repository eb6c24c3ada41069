"""Tasks that wait in a metadata database, as the API server leaves them when a task defers.

``python -m benchmarks.trigger_rows``, in the environment of an Airflow whose DAG folder holds :data:`DAG_FILE`: a line
of JSON asks, ``[function, arguments]``, a line that begins with :data:`ANSWER` answers.
"""

from __future__ import annotations

import json
import sys
from typing import Any

DAG_ID, TASK_ID = "waiting", "task"
#: One mapped task: its instances are what waits.
DAG_FILE = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG("waiting", schedule=None):
    EmptyOperator.partial(task_id="task").expand(doc=[str(number) for number in range({count})])
"""
#: Whatever else is printed is not for whoever asked.
ANSWER = "answer: "


def defer(run_id: str, first: int, triggers: list[tuple[str, dict[str, Any]]]) -> None:
    """Let instances of a DAG run wait, from ``first`` on: one for each of ``triggers``, (class path, arguments)."""
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState

    with create_session() as session:
        instances = {one.map_index: one for one in _run(session, run_id).get_task_instances(session=session)}
        for index, (classpath, kwargs) in enumerate(triggers, first):
            trigger = Trigger(classpath, kwargs)
            session.add(trigger)
            session.flush()
            instance = instances[index]
            instance.state, instance.try_number = TaskInstanceState.DEFERRED, 1
            instance.trigger_id, instance.next_method, instance.next_kwargs = trigger.id, "resume", {}


def give_up(run_id: str) -> None:
    """Fail what still waits of a DAG run: no triggerer takes its triggers up."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import update

    waiting = (TaskInstance.run_id == run_id, TaskInstance.state == TaskInstanceState.DEFERRED)
    with create_session() as session:
        session.execute(
            update(TaskInstance)
            .where(TaskInstance.dag_id == DAG_ID, *waiting)
            .values(state=TaskInstanceState.FAILED, trigger_id=None)
            .execution_options(synchronize_session=False)
        )


def woken(run_id: str) -> list[tuple[int, float, Any]]:
    """Return which instances of a DAG run are to go on, since when (seconds since the epoch), and with which event."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.sdk.serde import deserialize
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select

    ours = select(TaskInstance).where(
        TaskInstance.dag_id == DAG_ID,
        TaskInstance.run_id == run_id,
        TaskInstance.state == TaskInstanceState.SCHEDULED,
    )
    with create_session() as session:
        return [
            (one.map_index, one.scheduled_dttm.timestamp(), (deserialize(one.next_kwargs) or {}).get("event"))
            for one in session.scalars(ours)
        ]


def _take_in_dag() -> None:
    """Put the DAG into the database, as the DAG processor does."""
    from airflow.configuration import conf
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(DagBag(conf.get("core", "dags_folder"), bundle_name="dags-folder"), "dags-folder", None)


def _run(session: Any, run_id: str) -> Any:
    """Return the DAG run, made as the API server makes one."""
    from airflow._shared.timezones import timezone
    from airflow.models.dagbag import DBDagBag
    from airflow.models.dagrun import DagRun
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from sqlalchemy import select

    found = session.scalar(select(DagRun).where(DagRun.dag_id == DAG_ID, DagRun.run_id == run_id))
    if found is not None:
        return found
    dag = DBDagBag().get_latest_version_of_dag(DAG_ID, session=session)
    if dag is None:
        raise RuntimeError(f"the database has no DAG {DAG_ID}")
    made = dag.create_dagrun(
        run_id=run_id,
        run_after=timezone.utcnow(),
        run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.TEST,
        state=DagRunState.RUNNING,
        session=session,
    )
    session.flush()
    return made


def main() -> None:
    """Serve until standard input ends."""
    questions = {"defer": defer, "give_up": give_up, "woken": woken}
    _take_in_dag()
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(ANSWER + json.dumps(questions[name](*arguments), default=str), flush=True)


if __name__ == "__main__":
    main()
