"""Workers that may be killed: processes that each run one try of a task, forked from one that has imported Airflow.

``python -m tests.airflow.workers`` is that process: it reads one JSON object a line (a ``Job``), forks, and answers
with the worker's process id. A worker loads the DAG file, runs the task through ``FakeAirflow`` on the job's file,
writes how it ended, and exits. What it logs goes to a file, masked as Airflow masks it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: How long a test waits for what must happen.
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Job:
    """One try of one task."""

    database: str  #: the file of ``FakeAirflow``
    dag_file: str
    task_id: str
    outcome: str  #: where to write how it ended
    log: str
    retries: int = 3
    map_index: int = -1
    variables: Mapping[str, str] = field(default_factory=dict)  #: the worker's environment, added to the test's
    connections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Ending:
    """How a try ended, as its process wrote it down."""

    state: str
    error: str | None
    message: str


class Worker:
    """A worker's process, seen from the test."""

    def __init__(self, pid: int, job: Job) -> None:
        self.pid, self.job = pid, job
        self._descriptor: int | None = None
        with contextlib.suppress(ProcessLookupError):  # over already
            self._descriptor = os.pidfd_open(pid)

    def signal(self, number: int) -> None:
        """Send a signal; nothing when it is over."""
        if self._descriptor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> Ending | None:
        """Wait for its end; ``None`` when it was killed before it could say how it ended."""
        if self._descriptor is not None:
            if not select.select([self._descriptor], [], [], seconds)[0]:
                self.signal(signal.SIGKILL)
                raise AssertionError(f"the worker did not end within {seconds} s; its log:\n{self.log()}")
            os.close(self._descriptor)
            self._descriptor = None
        path = Path(self.job.outcome)
        return Ending(**json.loads(path.read_text())) if path.exists() else None

    def log(self) -> str:
        """The task log so far."""
        path = Path(self.job.log)
        return path.read_text(errors="replace") if path.exists() else ""


class Nursery:
    """Starts workers; each in milliseconds."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._requests: IO[str] = process.stdin  # type: ignore[assignment]
        self._answers: IO[str] = process.stdout  # type: ignore[assignment]
        self._workers: list[Worker] = []

    def start(self, job: Job) -> Worker:
        """Start one try."""
        self._requests.write(json.dumps(asdict(job)) + "\n")
        self._requests.flush()
        worker = Worker(int(self._answers.readline()), job)
        self._workers.append(worker)
        return worker

    def clear(self) -> None:
        """Kill what a test left running."""
        for worker in self._workers:
            worker.signal(signal.SIGKILL)
        self._workers.clear()


@contextlib.contextmanager
def nursery() -> Iterator[Nursery]:
    """Import Airflow once, in a process of its own, for as many workers as wanted."""
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Nursery(process)
        finally:
            process.stdin.close()  # type: ignore[union-attr]
            process.wait(PATIENCE_SECONDS)


def serve() -> None:
    """Fork a worker for each line of standard input."""
    for needed in ("operators.attendance", "targets.local"):  # by every worker: imported once
        importlib.import_module(f"airflow_provider.scriptrun.{needed}")
    _warm_up()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps them
    for line in sys.stdin:
        job = Job(**json.loads(line))
        pid = os.fork()
        if pid == 0:
            _work(job)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _warm_up() -> None:
    """Run a task that does nothing: plugins, listeners and templates are loaded here, and not in every worker."""
    from airflow.sdk import DAG, BaseOperator

    from tests.airflow.harness import FakeAirflow

    with DAG("nothing"), contextlib.redirect_stdout(sys.stderr):
        FakeAirflow().run(BaseOperator(task_id="nothing"))
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join()  # a fork takes none along


def _work(job: Job) -> None:
    """Run the job and leave the process, whatever happens."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ.update(job.variables)
        log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        empty = os.open(os.devnull, os.O_RDONLY)
        for descriptor, place in ((empty, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, place)
        ending = _run(job)
        beside = Path(job.outcome + ".tmp")
        beside.write_text(json.dumps(asdict(ending)))
        beside.replace(job.outcome)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(job: Job) -> Ending:
    from airflow.sdk.log import configure_logging

    from tests.airflow.harness import FakeAirflow

    configure_logging(json_output=False, output=sys.stdout, colored_console_log=False)
    airflow = FakeAirflow(
        file=Path(job.database), retries=job.retries, map_index=job.map_index, connections=job.connections
    )
    outcome = airflow.run(load_dag(Path(job.dag_file)).get_task(job.task_id), capture=False)
    error = outcome.error
    return Ending(outcome.state, type(error).__name__ if error is not None else None, str(error or ""))


def load_dag(path: Path) -> Any:
    """Import a DAG file and return its only DAG."""
    from airflow.sdk import DAG

    spec = importlib.util.spec_from_file_location(f"dag_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (dag,) = (value for value in vars(module).values() if isinstance(value, DAG))
    return dag


if __name__ == "__main__":
    serve()
