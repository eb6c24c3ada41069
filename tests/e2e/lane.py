"""One DAG run of a job in one lane: what a test tells its script, what it asks Airflow about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from scripts.airflow_services import SCHEDULER

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.airflow_services import AirflowServices

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
LANES = {"local": False, "local_deferred": True, "ssh": False, "ssh_deferred": True}
#: How long the tests wait for what must happen.
PATIENCE_SECONDS = 240
TASK = "job"


@dataclass(frozen=True)
class Lane:
    """A DAG run of ``<kind>_<name>`` whose script is told what to do by files in ``folder``."""

    airflow: AirflowServices
    name: str
    folder: Path
    dag_id: str
    run_id: str

    @classmethod
    def start(cls, airflow: AirflowServices, name: str, folder: Path, *, kind: str = "job") -> Lane:
        """Trigger the DAG."""
        dag_id = f"{kind}_{name}"
        return cls(airflow, name, folder, dag_id, airflow.trigger(dag_id, {"folder": str(folder)}))

    @property
    def is_deferrable(self) -> bool:
        """Whether its task waits in the triggerer."""
        return LANES[self.name]

    # what the script does

    def starts(self) -> list[tuple[str, int]]:
        """(run id, process id) of each start of the script."""
        path = self.folder / "starts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(line.split()[0], int(line.split()[1])) for line in lines]

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

    # what Airflow says

    def task(self) -> dict[str, Any]:
        """Return what Airflow knows of the task."""
        return self.airflow.task_instance(self.dag_id, self.run_id, TASK)

    def log(self, try_number: int = 1) -> list[str]:
        """Return the lines of the task's log."""
        return self.airflow.task_log(self.dag_id, self.run_id, TASK, try_number)

    def printed(self, try_number: int = 1) -> list[str]:
        """Return the lines of the task's log that the script printed: those of :meth:`say`, its first and its last."""
        ours = re.compile(r"the script (has started|is done)|line .*")
        return [line for line in self.log(try_number) if ours.fullmatch(line)]

    def record(self) -> dict[str, Any]:
        """Return the run record that the task pushed. Fails where it pushed none."""
        found = self.airflow.xcom(self.dag_id, self.run_id, TASK)
        assert isinstance(found, dict), f"{self.dag_id} pushed {found!r}"
        return found

    # waiting

    def until(self, question: Callable[[], T], what: str) -> T:
        """Wait for an event that shows in a file, a process or the API."""
        return self.airflow.until(question, PATIENCE_SECONDS, f"{self.dag_id}: {what} did not happen")

    def until_started(self, times: int = 1) -> int:
        """Wait for the script's start, the second, ...; return its process id."""
        self.until(lambda: len(self.starts()) >= times, f"start {times} of the script")
        return self.starts()[times - 1][1]

    def until_state(self, state: str, try_number: int | None = None) -> None:
        """Wait until the task is in a state, of a given try."""

        def is_so() -> bool:
            task = self.task()
            return task["state"] == state and try_number in (None, task["try_number"])

        self.until(is_so, f"the task's being {state}{f' in try {try_number}' if try_number else ''}")

    def until_waiting(self, try_number: int = 1) -> None:
        """Wait until the task waits for its script, where this lane waits: in the triggerer, or in a worker.

        The scheduler has heard by then that a task deferred: it fails one that comes back before.
        """
        if not self.is_deferrable:
            self.until_state("running", try_number)
            return
        self.until_state("deferred", try_number)
        self.until(lambda: self._is_deferral_known(try_number), "the scheduler's hearing of the deferral")

    def _is_deferral_known(self, try_number: int) -> bool:
        key = f"dag_id='{self.dag_id}', task_id='{TASK}', run_id='{self.run_id}', try_number={try_number},"
        heard = f"Received executor event with state success for task instance TaskInstanceKey({key}"
        return heard in self.airflow[SCHEDULER].log.read_text(errors="replace")

    def until_gone(self, pid: int) -> None:
        """Wait until a process is no more."""
        self.until(lambda: not is_alive(pid), f"the end of process {pid}")

    def until_over(self) -> str:
        """Wait for the DAG run's end; return its state."""
        return self.airflow.wait_for_run(self.dag_id, self.run_id, PATIENCE_SECONDS)


def is_alive(pid: int) -> bool:
    """Whether a process runs: one that nobody buried yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
