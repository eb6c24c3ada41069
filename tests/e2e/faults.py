"""What goes wrong with an Airflow: parts of it are killed, frozen or away, and a service manager starts them again."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.airflow_services import API_SERVER, SCHEDULER, TRIGGERERS
from scripts.service import processes_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.airflow_services import AirflowServices

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
        running = [task for task in self._tasks() if task["state"] == "running" and task["pid"]]
        if not running:
            return
        pid = running[number % len(running)]["pid"]
        with contextlib.suppress(OSError):  # it may have ended just now
            parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
            os.kill(parent, signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)

    def kill_triggerer(self, number: int = 0) -> None:
        """Kill one of the triggerers, and start it again."""
        self._airflow[TRIGGERERS[number % len(TRIGGERERS)]].kill()
        self._airflow.restore()

    def freeze_triggerer(self, number: int = 0) -> None:
        """Freeze one of the triggerers until the other has taken over what it watched, then let it go on."""
        service = self._airflow[TRIGGERERS[number % len(TRIGGERERS)]]
        before = self._airflow.until(self._both_triggerers, PATIENCE_SECONDS, "a triggerer is missing")
        service.freeze()
        try:
            frozen = self._airflow.until(lambda: self._missed(before), PATIENCE_SECONDS, "no triggerer was missed")
            self._until(lambda: not frozen & self._watched_by(), "the other triggerer's taking over")
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

    def _watched_by(self) -> set[int]:
        deferred = [task for task in self._tasks() if task["state"] == "deferred"]
        return {int(task["triggerer_job"]["id"]) for task in deferred if task["triggerer_job"]}

    def _until(self, question: Callable[[], bool], what: str) -> None:
        self._airflow.until(question, PATIENCE_SECONDS, f"{what} did not happen")
