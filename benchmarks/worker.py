"""One task through Airflow's own task supervisor and task runner, as a LocalExecutor's worker runs it; no database."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import httpx


class TaskRun(NamedTuple):
    """How long a task took from the worker's point of view, and what its log file holds."""

    seconds: float
    events: list[str]


def run_task(dags_folder: Path, dag_file: str, task_id: str, log: Path) -> TaskRun:
    """Run one task of the DAG ``bench`` to its end, its log going to ``log`` as in production.

    Raises ``RuntimeError`` with the log's end when the task does not succeed.
    """
    from airflow.sdk.api.client import Client
    from airflow.sdk.api.datamodels._generated import BundleInfo, TaskInstance
    from airflow.sdk.execution_time.supervisor import supervise_task

    from tests.airflow.harness import RUN_ID, FakeAirflow

    server = FakeAirflow()
    server._try = server.stored.try_number  # as its own run() does
    instance = TaskInstance(
        id=uuid.uuid4(), task_id=task_id, dag_id="bench", run_id=RUN_ID, try_number=1, map_index=-1,
        dag_version_id=uuid.uuid4(),
    )  # fmt: skip
    begun = time.perf_counter()
    code = supervise_task(
        ti=instance,
        bundle_info=BundleInfo(name="dags-folder", version=None),
        dag_rel_path=dag_file,
        token="",
        client=Client(base_url="http://in-memory", token="", transport=httpx.MockTransport(server)),
        log_path=str(log),
    )
    seconds = time.perf_counter() - begun
    events = [str(json.loads(line)["event"]) for line in log.read_text().splitlines()]
    failures = [line for line in log.read_text().splitlines() if '"level":"error"' in line]
    if code or failures:
        raise RuntimeError(f"{task_id} of {dags_folder} failed:\n" + "\n".join(failures))
    return TaskRun(seconds, events)
