"""One task through Airflow's own task supervisor and task runner, as a LocalExecutor's worker runs it; no database."""

from __future__ import annotations

import json
import os
import select
import threading
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import httpx


class TaskRun(NamedTuple):
    """How long a task took, from the worker's call to the end of the task's process, and what its log file holds.

    Airflow's task supervisor sees that end at once or, where the process is slow to go, five seconds later; that is
    the supervisor's, whatever the task, and not counted.
    """

    seconds: float
    events: list[str]


def run_task(dags_folder: Path, dag_file: str, task_id: str, log: Path, server: Any = None) -> TaskRun:
    """Run one task of the DAG ``bench`` to its end, or to where it defers, its log going to ``log`` as in production.

    :param server: the ``FakeAirflow`` whose task it is; ``None``: one of its own.

    Raises ``RuntimeError`` with the log's end when the task does not succeed.
    """
    from airflow.sdk.api.client import Client
    from airflow.sdk.api.datamodels._generated import BundleInfo, TaskInstance
    from airflow.sdk.execution_time.supervisor import supervise_task

    from tests.airflow.harness import RUN_ID, FakeAirflow

    server = FakeAirflow() if server is None else server
    server._try = server.stored.try_number  # as its own run() does
    instance = TaskInstance(
        id=uuid.uuid4(), task_id=task_id, dag_id="bench", run_id=RUN_ID, try_number=1, map_index=-1,
        dag_version_id=uuid.uuid4(),
    )  # fmt: skip
    process = _Process(server)
    begun = time.perf_counter()
    code = supervise_task(
        ti=instance,
        bundle_info=BundleInfo(name="dags-folder", version=None),
        dag_rel_path=dag_file,
        token="",
        client=Client(base_url="http://in-memory", token="", transport=httpx.MockTransport(process)),
        log_path=str(log),
    )
    seconds = process.ended() - begun
    events = [str(json.loads(line)["event"]) for line in log.read_text().splitlines()]
    failures = [line for line in log.read_text().splitlines() if '"level":"error"' in line]
    if code or failures:
        raise RuntimeError(f"{task_id} of {dags_folder} failed:\n" + "\n".join(failures))
    return TaskRun(seconds, events)


class _Process:
    """The API server as a task sees it, which notes when the task's process ends."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._watch: threading.Thread | None = None
        self._ended = 0.0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self._watch is None and request.url.path.endswith("/run"):
            descriptor = os.pidfd_open(json.loads(request.content)["pid"])
            self._watch = threading.Thread(target=self._wait, args=(descriptor,))
            self._watch.start()
        response: httpx.Response = self._server(request)
        return response

    def ended(self) -> float:
        """Return when it ended, by ``time.perf_counter``."""
        if self._watch is None:
            raise RuntimeError("the task's process said nothing of itself")
        self._watch.join()
        return self._ended

    def _wait(self, descriptor: int) -> None:
        select.select([descriptor], [], [])
        self._ended = time.perf_counter()
        os.close(descriptor)


def run_deferred(dags_folder: Path, dag_file: str, task_id: str, log: Path) -> tuple[float, float]:
    """Run a task that defers, let its trigger fire once its run is over; return the seconds of both of its slices."""
    import asyncio

    from airflow_provider.scriptrun.runs.host_watches import shared
    from airflow_provider.scriptrun.triggers.run_over import ScriptRunTrigger
    from tests.airflow.harness import FakeAirflow

    async def wait() -> Any:
        trigger = ScriptRunTrigger(**waiting["trigger_kwargs"])
        async for event in trigger.run():
            return event.payload
        raise RuntimeError(f"the trigger of {task_id} did not fire")

    server = FakeAirflow()
    first = run_task(dags_folder, dag_file, task_id, log, server).seconds
    waiting = json.loads(json.dumps(server.stored.deferred))
    if not waiting:
        raise RuntimeError(f"{task_id} did not defer")
    waiting["trigger_kwargs"]["wait"]["not_before"] = 0.0  # there is no scheduler that has to hear of it first
    event = asyncio.run(wait())
    shared.close()  # the next slice is forked: it must not inherit the watch's thread
    server.fire(event)
    return first, run_task(dags_folder, dag_file, task_id, log, server).seconds
