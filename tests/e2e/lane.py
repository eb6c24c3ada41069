"""One DAG run of a job in one lane: what a test tells its script, what it asks Airflow about it."""

from __future__ import annotations

import fcntl
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.error import HTTPError

import pytest

from scripts.airflow_api import quoted
from scripts.airflow_services import SCHEDULER

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.airflow_services import AirflowServices
    from tests.e2e.engine_volume import EngineVolume

T = TypeVar("T")
#: What every test of this folder is marked with: one Airflow, in one process, only where it is asked for.
E2E = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.xdist_group("e2e"),
    pytest.mark.needs("postgresql", "sshd"),
    pytest.mark.timeout(900),
]
#: Lane -> whether its task waits in the triggerer. Each is a DAG of ``dags/lanes.py``.
HOSTS = {"local": False, "local_deferred": True, "ssh": False, "ssh_deferred": True}
#: The same for containers of an engine on the machine over SSH.
CONTAINERS = {"docker": False, "docker_deferred": True}
LANES = {**HOSTS, **CONTAINERS}
#: Lane -> where its host keeps everything, under Airflow's home.
ROOTS = {"local": "target", "local_deferred": "target", "ssh": "vm", "ssh_deferred": "vm"}
#: How long the tests wait for what must happen.
PATIENCE_SECONDS = 240
TASK = "job"
NOT_FOUND, CONFLICT = 404, 409


@dataclass(frozen=True)
class Lane:
    """A DAG run of ``<kind>_<name>`` whose script is told what to do by files in ``folder``.

    ``volume`` is where a target that runs containers keeps everything.
    """

    airflow: AirflowServices
    name: str
    folder: Path
    dag_id: str
    run_id: str
    volume: EngineVolume | None

    @classmethod
    def start(
        cls, airflow: AirflowServices, name: str, folder: Path, *, kind: str = "job", volume: EngineVolume | None = None
    ) -> Lane:
        """Trigger the DAG."""
        dag_id = f"{kind}_{name}"
        return cls(airflow, name, folder, dag_id, airflow.trigger(dag_id, {"folder": str(folder)}), volume)

    @property
    def is_deferrable(self) -> bool:
        """Whether its task waits in the triggerer."""
        return LANES[self.name]

    # what the script does

    def starts(self) -> list[str]:
        """Return the run id of each start of the script."""
        path = self.folder / "starts"
        return path.read_text().splitlines() if path.exists() else []

    def is_alive(self, run_id: str) -> bool:
        """Whether a script that has started lives: it holds a lock, in whatever namespace its process is."""
        with (self.folder / f"{run_id}.alive").open() as alive:
            try:
                fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def say(self, text: str) -> None:
        """Let the script print a line."""
        with (self.folder / "say").open("a") as say:
            say.write(text + "\n")

    def go(self) -> None:
        """Let the script, and each later one of this DAG run, end well."""
        (self.folder / "go").touch()

    def fail(self) -> None:
        """Let the script end with exit code 3."""
        (self.folder / "fail").touch()

    # what a person does

    def clear(self) -> None:
        """Clear the task."""
        self.airflow.clear(self.dag_id, self.run_id, TASK)

    def mark(self, state: str) -> None:
        """Mark the task ``failed`` or ``success``."""
        self.airflow.mark(self.dag_id, self.run_id, TASK, state)

    def delete(self, state: str) -> None:
        """Delete the DAG run. Airflow refuses to while it is ``running``, so it is given another state first."""
        run = f"/dags/{self.dag_id}/dagRuns/{quoted(self.run_id)}"
        self._delete(run, state, run)

    def delete_dag(self, state: str) -> None:
        """Delete the DAG, with its runs. Airflow refuses to while a task runs, so this run is given a state first."""
        self._delete(f"/dags/{self.dag_id}/dagRuns/{quoted(self.run_id)}", state, f"/dags/{self.dag_id}")

    def _delete(self, run: str, state: str, what: str) -> None:
        def is_deleted() -> bool:
            try:
                self.airflow.api("PATCH", run, {"state": state})
                self.airflow.api("DELETE", what)
            except HTTPError as error:
                if error.code != CONFLICT:  # the scheduler let a queued one run meanwhile
                    raise
                return False
            return True

        self.until(is_deleted, f"the deletion of {what}")

    def make_again(self) -> None:
        """Trigger a DAG run of the same name, once the first one was deleted."""
        self.airflow.trigger(self.dag_id, {"folder": str(self.folder)}, run_id=self.run_id)

    # what Airflow says

    def task(self) -> dict[str, Any]:
        """Return what Airflow knows of the task."""
        return self.airflow.task_instance(self.dag_id, self.run_id, TASK)

    def try_number(self) -> int:
        """Return which try the task is in: a busy machine may have cost some."""
        return int(self.task()["try_number"])

    def log(self, try_number: int) -> list[str]:
        """Return the lines of one try's log."""
        return self.airflow.task_log(self.dag_id, self.run_id, TASK, try_number)

    def shown(self) -> list[str]:
        """Return the lines that the script printed (first, last, those of :meth:`say`), from the logs of all tries."""
        ours = re.compile(r"the script (has started|is done)|line .*")
        return [line for line in self.whole_log() if ours.fullmatch(line)]

    def whole_log(self) -> list[str]:
        """Return the lines of the logs of all tries. Airflow keeps none of a try that it failed before its end."""
        lines = []
        for number in range(1, self.try_number() + 1):
            try:
                lines += self.log(number)
            except HTTPError as error:
                if error.code != NOT_FOUND:
                    raise
        return lines

    def record(self) -> dict[str, Any]:
        """Return the run record that the task pushed. Fails where it pushed none."""
        found = self.airflow.xcom(self.dag_id, self.run_id, TASK)
        assert isinstance(found, dict), f"{self.dag_id} pushed {found!r}"
        return found

    def run_log(self, record: dict[str, Any]) -> list[str]:
        """Return the lines of the whole log in the workspace that a record names."""
        return Path(record["log"]["uri"].removeprefix("file://")).read_text().splitlines()

    def status(self, run_id: str) -> dict[str, Any]:
        """Return what stands in a run's ``status.json`` on its target."""
        path = f"runs/{run_id}/status.json"
        text = self.volume.read(path) if self.volume else (self.airflow.home / ROOTS[self.name] / path).read_bytes()
        found: dict[str, Any] = json.loads(text)
        return found

    def has_container(self, run_id: str) -> bool:
        """Whether there is a container of a run, running or not: never on a host."""
        return self.volume is not None and self.volume.has_container(run_id)

    # waiting

    def until(self, question: Callable[[], T], what: str) -> T:
        """Wait for an event that shows in a file, a process, the engine or the API."""
        return self.airflow.until(question, PATIENCE_SECONDS, f"{self.dag_id}: {what} did not happen")

    def until_started(self, times: int = 1) -> str:
        """Wait for the script's start, the second, ...; return its run id."""
        self.until(lambda: len(self.starts()) >= times, f"start {times} of the script")
        return self.starts()[times - 1]

    def until_state(self, state: str) -> None:
        """Wait until the task is in a state."""
        self.until(lambda: self.task()["state"] == state, f"the task's being {state}")

    def until_try(self, number: int) -> None:
        """Wait until the task runs or waits in a try, or in a later one."""

        def is_so() -> bool:
            task = self.task()
            return task["try_number"] >= number and task["state"] in ("running", "deferred")

        self.until(is_so, f"try {number}")

    def until_shown(self, line: str) -> None:
        """Wait until the task's log has a line."""
        self.until(lambda: line in self.whole_log(), f"the line {line!r}'s being shown")

    def until_waiting(self) -> None:
        """Wait until the task waits for its script, where this lane waits: in the triggerer, or in a worker.

        The scheduler has heard by then that a task deferred: it fails one that comes back before.
        """
        state = "deferred" if self.is_deferrable else "running"

        def is_so() -> bool:
            task = self.task()
            return task["state"] == state and (not self.is_deferrable or self._is_deferral_known(task["try_number"]))

        self.until(is_so, f"the task's being {state}")

    def _is_deferral_known(self, try_number: int) -> bool:
        key = f"dag_id='{self.dag_id}', task_id='{TASK}', run_id='{self.run_id}', try_number={try_number},"
        heard = f"Received executor event with state success for task instance TaskInstanceKey({key}"
        return heard in self.airflow[SCHEDULER].log.read_text(errors="replace")

    def until_gone(self, run_id: str) -> None:
        """Wait until a script that has started lives no more."""
        self.until(lambda: not self.is_alive(run_id), f"the end of the script of {run_id}")

    def until_over(self) -> str:
        """Wait for the DAG run's end; return its state."""
        return self.airflow.wait_for_run(self.dag_id, self.run_id, PATIENCE_SECONDS)
