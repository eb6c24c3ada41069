"""One try of a task, as a process that may be killed: ``python crash_worker.py FOLDER TRY``. Prints the record."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from airflow_provider.scriptrun.config import ScriptRunConfig
from airflow_provider.scriptrun.runs.lineage import Attempt
from airflow_provider.scriptrun.runs.submission import submit
from airflow_provider.scriptrun.runs.workspace import Workspace
from airflow_provider.scriptrun.supervisor.protocol.atomic import write_atomic
from tests.runs.fakes import FakeSurroundings


class FileStore:
    """A lineage store in a folder, as durable as a task's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def get(self, name):
        path = self._folder / name
        return json.loads(path.read_text()) if path.exists() else None

    def set(self, name, value):
        write_atomic(str(self._folder / name), json.dumps(value))


class Log:
    """The task log: one file for all tries, so that a test sees what was shown twice or never."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")

    def line(self, text):
        self._file.write(f"line {text}\n")
        self._file.flush()

    def note(self, text):
        self._file.write(f"note {text}\n")
        self._file.flush()

    warning = note


def main(folder: Path, try_number: int) -> None:
    surroundings = FakeSurroundings(folder)
    run = submit(
        ScriptRunConfig("source", "train.py"), workspace=Workspace.from_config(surroundings), experiment="churn",
        lineage=FileStore(folder / "state"), attempt=Attempt(try_number, 3), surroundings=surroundings,
        reporter=(log := Log(folder / "task.log")),
    )  # fmt: skip
    run.watch(log)
    record = run.collect(reporter=log)
    run.mark_delivered()
    run.close()
    sys.stdout.write(json.dumps(record))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
