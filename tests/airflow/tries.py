"""One task over several tries, each in a worker of its own."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.airflow.harness import FakeAirflow
from tests.airflow.project import SCRIPT, Project, until
from tests.airflow.workers import Ending, Job, Nursery, Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What the script of ``project.SCRIPT`` prints when it ends well.
WHOLE_LOG = "line 0\nline 1\nline 2\ndone\n"


class Tries:
    """The task ``train`` of a project's DAG file, with Airflow's database in a file."""

    def __init__(
        self,
        project: Project,
        workers: Nursery,
        *,
        retries: int = 3,
        operator: str = "",
        config: str = "",
        script: str = SCRIPT,
        connections: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.project, self._workers, self._connections = project, workers, connections or {}
        self._retries = retries
        self._numbers = count(1)
        self._dag = project.write_dag(operator, config, script)
        self._database = project.root / "airflow.json"
        self.airflow = FakeAirflow(file=self._database, retries=retries)

    def start(self, **variables: str) -> Worker:
        """Start a worker on the current try."""
        number = next(self._numbers)
        return self._workers.start(
            Job(
                database=str(self._database),
                dag_file=str(self._dag),
                task_id="train",
                outcome=str(self.project.root / f"worker{number}.json"),
                log=str(self.project.root / f"worker{number}.log"),
                retries=self._retries,
                variables={**self.project.variables, **variables},
                connections=self._connections,
            )
        )

    def finish(self, **variables: str) -> Ending:
        """Run the current try to its end."""
        worker = self.start(**variables)
        ending = worker.wait()
        assert ending is not None, worker.log()
        return ending

    def running(self, **variables: str) -> tuple[Worker, str, int]:
        """Start a worker, and return it with the run id and process id of its script, which waits for ``release``."""
        before = len(self.project.starts())
        self.project.hold()
        worker = self.start(**variables)
        run_id, pid = until(lambda: self.project.starts()[before:], f"the start of the script: {worker.log()}")[-1]
        return worker, run_id, pid

    @property
    def record(self) -> dict[str, Any]:
        """The task's XCom value."""
        record = self.airflow.stored.xcom["return_value"]
        assert isinstance(record, dict)
        return record

    def kept_record(self, run_id: str) -> dict[str, Any]:
        """The record that the workspace has of a run."""
        (path,) = self.project.workspace.glob(f"**/{run_id}/record.json")
        record: dict[str, Any] = json.loads(Path(path).read_text())
        return record
