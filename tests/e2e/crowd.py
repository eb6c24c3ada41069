"""A DAG run whose mapped task runs many scripts at once: what they did, what Airflow and the workspace say of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.airflow_api import quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.airflow_services import AirflowServices

TASK = "job"
#: A page of the REST API holds so many at the most.
PAGE = 100


@dataclass(frozen=True)
class Crowd:
    """``count`` scripts of a DAG run, told to end by a file in ``folder``."""

    airflow: AirflowServices
    dag_id: str
    run_id: str
    folder: Path
    count: int

    @classmethod
    def start(cls, airflow: AirflowServices, dag_id: str, folder: Path, count: int) -> Crowd:
        """Trigger the DAG."""
        return cls(airflow, dag_id, airflow.trigger(dag_id, {"folder": str(folder)}), folder, count)

    def go(self) -> None:
        """Let every script end well."""
        (self.folder / "go").touch()

    def until(self, question: Callable[[], bool], what: str, timeout_seconds: float) -> None:
        """Wait for an event that shows in a file or the API."""
        self.airflow.until(question, timeout_seconds, f"{self.dag_id}: {what} did not happen")

    def starts(self, number: int) -> list[str]:
        """Return the run id of each start of a script."""
        path = self.folder / f"starts-{number}"
        return path.read_text().splitlines() if path.exists() else []

    def started(self) -> int:
        """How many scripts have started."""
        return sum(bool(self.starts(number)) for number in range(self.count))

    def tasks(self) -> list[dict[str, Any]]:
        """Return what Airflow knows of each mapped task."""
        path = f"/dags/{self.dag_id}/dagRuns/{quoted(self.run_id)}/taskInstances/{TASK}/listMapped"
        found: list[dict[str, Any]] = self.airflow.api("GET", f"{path}?limit={PAGE}")["task_instances"]
        return found

    def states(self) -> dict[str, int]:
        """How many of the tasks are in which state."""
        states = [str(task["state"]) for task in self.tasks()]
        return {state: states.count(state) for state in set(states)}

    def mistakes(self) -> list[str]:
        """Return what is wrong, now that all is over: each script once, each record right, each log whole."""
        return [mistake for number in range(self.count) for mistake in self._mistakes(number)]

    def _mistakes(self, number: int) -> list[str]:
        starts = self.starts(number)
        if len(starts) != 1:
            return [f"script {number} started {len(starts)} times"]
        record = self.airflow.xcom(self.dag_id, self.run_id, TASK, map_index=number)
        if not isinstance(record, dict):
            return [f"task {number} pushed {record!r}"]
        (run_id,) = starts
        log = Path(record["log"]["uri"].removeprefix("file://")).read_bytes()
        lines = int(record["metrics"].get("lines", -1))
        expected = "".join(f"{number}: line {line}\n" for line in range(lines)).encode()
        said = {
            "run_id": (record["run_id"], run_id),
            "status": (record["status"], "Completed"),
            "target": (record["target"]["name"], ("local", "vm")[number // 2 % 2]),
            "outputs": ([file["path"] for file in record["outputs"]["files"]], ["lines"]),
            "map_index": (record["airflow"]["map_index"], number),
            "bytes of the log": (record["log"]["bytes"], len(expected)),
        }
        wrong = [
            f"{name} of {number} is {is_} instead of {must_be}"
            for name, (is_, must_be) in said.items()
            if is_ != must_be
        ]
        if log != expected:
            wrong.append(f"the log of {number} has {len(log)} bytes instead of {len(expected)}")
        return wrong
