"""A real ``airflow triggerer`` on a PostgreSQL of its own, and the tasks that wait in it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.processes import children
from benchmarks.trigger_rows import ANSWER, DAG_FILE, DAG_ID, TASK_ID
from scripts.airflow_home import CHECKOUT, AirflowHome
from scripts.private_postgresql import PrivatePostgresql
from scripts.service import Service

#: Whatever is waited for has happened by then, or something is wrong.
PATIENCE_S = 300.0
PAUSE_S = 1.0
#: Its class path: importing it would import Airflow.
PROBE = "benchmarks.loop_probe.LoopProbe"


class Database:
    """The metadata database of an Airflow of which nothing runs yet, and what is asked of it."""

    def __init__(self, home: AirflowHome, log: Path) -> None:
        self.home = home
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.trigger_rows"], env=home.environment, cwd=CHECKOUT,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        self._log = log

    def ask(self, function: str, *arguments: Any) -> Any:
        """Call a function of ``trigger_rows`` and return what it returns."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([function, arguments]) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return json.loads(line[len(ANSWER) :])
        raise RuntimeError(f"{function} failed: {self._log.read_text()[-2000:]}")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def database(folder: Path, count: int, options: Mapping[str, str]) -> Iterator[Database]:
    """Make one whose DAG runs have ``count`` task instances; it is removed afterwards.

    :param options: settings of this Airflow, as environment variables.
    """
    dags = folder / "dags"
    dags.mkdir()
    (dags / "waiting.py").write_text(DAG_FILE.format(count=count))
    with PrivatePostgresql().running() as server:
        settings = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": server.url,
            "AIRFLOW__CORE__MAX_MAP_LENGTH": str(count),
            "AIRFLOW__TRIGGERER__CAPACITY": str(count),
            "PYTHONPATH": os.fspath(CHECKOUT),  # the probe's module
        }
        home = AirflowHome(folder / "airflow", dags, options={**settings, **options})
        home.home.mkdir()
        home.command("db", "migrate")
        made = Database(home, folder / "rows.log")
        try:
            yield made
        finally:
            made.close()


class Triggerer:
    """The triggerer while one DAG run's tasks wait in it.

    :param run_id: of that DAG run.
    """

    def __init__(self, data: Database, run_id: str) -> None:
        self._data, self.run_id = data, run_id
        self.folder = data.home.home
        self.probe_file = self.folder / f"{run_id}.probe"
        self._fired_file = self.folder / f"{run_id}.fired"
        self._service = Service(
            "triggerer", [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"],
            environment=data.home.environment, folder=self.folder, log=self.folder / f"{run_id}.log",
        )  # fmt: skip

    @contextlib.contextmanager
    def running(self) -> Iterator[Triggerer]:
        """Start it with the probe in its loop; stop it whatever happens."""
        self._service.start()
        try:
            self.defer(0, [(PROBE, {"file": str(self.probe_file)})])
            self.until(self.probe_file.exists, "the start of the triggerer")
            yield self
        finally:
            self._service.stop()
            self._data.ask("give_up", self.run_id)

    @property
    def runner(self) -> int:
        """The process that has the event loop."""
        (runner,) = children(self._service.pid)
        return runner

    def defer(self, first: int, triggers: list[tuple[str, dict[str, Any]]]) -> None:
        """Let task instances wait, from ``first`` on: one for each trigger, (class path, arguments)."""
        self._data.ask("defer", self.run_id, first, triggers)

    def until_logged(self, indices: range, words: str) -> None:
        """Wait until the log of each of these instances has these words."""
        missing = set(indices)

        def are_all() -> bool:
            missing.difference_update([index for index in missing if words in self.log(index)])
            return not missing

        self.until(are_all, f"{words!r} in {len(indices)} logs")

    def until_woken(self, count: int) -> list[tuple[int, float, Any]]:
        """Wait until so many instances are to go on; return their index, since when, and their event."""
        found: list[tuple[int, float, Any]] = []

        def are_all() -> bool:
            found[:] = self._data.ask("woken", self.run_id)
            return len(found) >= count

        with contextlib.suppress(TimeoutError):  # how many are missing is what whoever asks has to say
            self.until(are_all, "every event")
        return found

    def notes(self, number: int) -> dict[str, Any]:
        """Return what one of ``timed_triggers`` is told besides, so that it notes when it fires."""
        return {"number": number, "notes": str(self._fired_file)}

    def fired(self) -> list[tuple[int, float]]:
        """Return the number of each trigger that has fired, and when, in seconds since the epoch."""
        lines = [line.split() for line in self._fired_file.read_text().splitlines()]
        return [(int(number), float(at)) for number, at in lines]

    def log(self, index: int) -> str:
        """Return what a trigger has logged."""
        folder = f"logs/dag_id={DAG_ID}/run_id={self.run_id}/task_id={TASK_ID}/map_index={index}"
        return "".join(path.read_text() for path in self.folder.glob(f"{folder}/*.trigger.*"))

    def lags(self, begin: float, end: float) -> list[float]:
        """Return how late the loop was, in seconds, each time that the probe woke up between two moments."""
        lines = [line.split() for line in self.probe_file.read_text().splitlines()]
        return [float(lag) for at, lag in lines if begin <= float(at) <= end]

    def until(self, question: Callable[[], bool], what: str) -> None:
        """Ask every second until the answer is yes. Raises ``TimeoutError``."""
        deadline = time.monotonic() + PATIENCE_S
        while not question():
            if not self._service.is_running:
                raise RuntimeError(f"the triggerer has ended: {self._service.log.read_text()[-2000:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not happen within {PATIENCE_S:.0f} s; see {self._service.log}")
            time.sleep(PAUSE_S)
