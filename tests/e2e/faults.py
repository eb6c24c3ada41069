"""What goes wrong with an Airflow: parts of it are killed, frozen or away, and a service manager starts them again."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from scripts.airflow_services import API_SERVER, SCHEDULER, TRIGGERERS
from scripts.service import processes_of
from tests.e2e.together import kill_runner, parent_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.airflow_services import AirflowServices
    from scripts.service import Service

T = TypeVar("T")
#: How long Airflow has to notice a fault.
PATIENCE_SECONDS = 240


class Faults:
    """Does things to an Airflow, each until it is well again. A context: at its end nothing of them is left.

    :param tasks: what Airflow knows of the tasks that are concerned.
    """

    def __init__(self, airflow: AirflowServices, tasks: Callable[[], list[dict[str, Any]]]) -> None:
        self._airflow, self._tasks = airflow, tasks
        self._orphans: list[int] = []

    def __enter__(self) -> Faults:
        return self

    def __exit__(self, *_: object) -> None:
        for session in self._orphans:
            for pid in processes_of(session):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def kill_worker(self, number: int = 0) -> None:
        """Kill a process that runs a task, and the one that watches over it, as when their host dies."""

        def is_killed() -> bool:
            running = [task["pid"] for task in self._tasks() if task["state"] == "running" and task["pid"]]
            living = [pid for pid in running if parent_of(pid) is not None]  # Airflow hears of an end a while later
            return bool(living) and kill_runner(living[number % len(living)])

        self._until(is_killed, "a worker's being killed")

    def kill_triggerer(self, number: int = 0) -> None:
        """Kill one of the triggerers, and start it again."""
        self._airflow[TRIGGERERS[number % len(TRIGGERERS)]].kill()
        self._airflow.restore()

    def freeze_triggerer(self, number: int = 0) -> None:
        """Freeze a triggerer until another one has taken over the tasks that it watched, then let it go on."""
        before = self._until(self._both_triggerers, "both triggerers' being there")
        watchers = self._until(self._watchers, "a triggerer's watching a task")
        job, service = watchers[number % len(watchers)]
        service.freeze()
        try:
            self._until(lambda: job in self._missed(before), "the frozen triggerer's being missed")
            self._until(lambda: job not in self._watched_by(), "another triggerer's taking over")
        finally:
            service.thaw()
        self._airflow.restore()

    def kill_scheduler(self, number: int = 0) -> None:
        """Kill the scheduler, and start another: with its workers where ``number`` is odd, else alone."""
        is_alone = number % 2 == 0
        session = self._airflow[SCHEDULER].pid
        self._airflow[SCHEDULER].kill(alone=is_alone)
        if is_alone:
            self._orphans.append(session)  # its workers end what they do, then wait for it for ever
        self._airflow.restore()

    def take_api_away(self, seconds: float) -> None:
        """Stop the API server, through which tasks talk to Airflow, for so long."""
        self._airflow[API_SERVER].stop()
        time.sleep(seconds)  # the fault is its length
        self._airflow.restore()

    def restart_database(self, number: int = 0) -> None:
        """Restart PostgreSQL, which breaks every connection to it."""
        self._airflow.database.stop()
        self._airflow.database.start()
        self._airflow.restore()

    def _both_triggerers(self) -> dict[int, str]:
        living = self._airflow.living_triggerers()
        return living if len(living) == len(TRIGGERERS) else {}

    def _missed(self, before: dict[int, str]) -> set[int]:
        """Return the one that Airflow takes for dead: a triggerer that is late on a busy machine goes on later."""
        now = self._airflow.living_triggerers()
        goes_on = {job for job, heartbeat in now.items() if heartbeat != before.get(job)}
        return set(before) - set(now) if goes_on else set()

    def _watchers(self) -> list[tuple[int, Service]]:
        """Return the triggerers that watch a task, each with its job, which stands in the names of its open logs."""
        found = {job: self._writer(f".trigger.{job}.log") for job in sorted(self._watched_by())}
        return [(job, service) for job, service in found.items() if service is not None]

    def _writer(self, ending: str) -> Service | None:
        """Return the triggerer that has a file open whose name ends so."""
        for service in (self._airflow[name] for name in TRIGGERERS):
            for path in Path(f"/proc/{service.pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # it was closed just now
                    if os.readlink(path).endswith(ending):
                        return service
        return None

    def _watched_by(self) -> set[int]:
        deferred = [task for task in self._tasks() if task["state"] == "deferred"]
        return {int(task["triggerer_job"]["id"]) for task in deferred if task["triggerer_job"]}

    def _until(self, question: Callable[[], T], what: str) -> T:
        return self._airflow.until(question, PATIENCE_SECONDS, f"{what} did not happen")
