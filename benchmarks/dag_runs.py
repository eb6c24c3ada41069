"""Whole DAG runs in a real Airflow: a process for each of its parts, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from scripts.airflow_api import quoted
from scripts.airflow_services import AirflowServices

PATIENCE_S = 300.0


def seconds(
    home: Path, dags: Path, dag_ids: Sequence[str], rounds: int, options: Mapping[str, str]
) -> tuple[float, dict[str, list[float]]]:
    """Return how long this Airflow took to start from nothing, its database within, and how long each DAG's runs took.

    A run's time is from being queued to its end; they run one at a time, in turns.

    :param options: settings of this Airflow, as environment variables.
    """
    took: dict[str, list[float]] = {dag_id: [] for dag_id in dag_ids}
    with AirflowServices(home, dags, options=options).running() as airflow:
        for _ in range(rounds):
            for dag_id in dag_ids:
                took[dag_id].append(_seconds(airflow, dag_id))
    return airflow.seconds_to_start, took


def _seconds(airflow: AirflowServices, dag_id: str) -> float:
    run_id = airflow.trigger(dag_id)
    state = airflow.wait_for_run(dag_id, run_id, PATIENCE_S)
    if state != "success":
        task = airflow.task_instance(dag_id, run_id, "task")
        raise RuntimeError(
            "\n".join([f"{dag_id} {state}", *airflow.task_log(dag_id, run_id, "task", task["try_number"])])
        )
    run = airflow.api("GET", f"/dags/{dag_id}/dagRuns/{quoted(run_id)}")
    queued, ended = (datetime.fromisoformat(run[name].replace("Z", "+00:00")) for name in ("queued_at", "end_date"))
    return (ended - queued).total_seconds()
