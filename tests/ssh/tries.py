"""The tries of one task against an SSH target, each a process of its own that may be killed at any moment."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from airflow_provider.scriptrun import ScriptRunConfig, Workspace
from airflow_provider.scriptrun.hooks.surroundings import AirflowSurroundings
from airflow_provider.scriptrun.runs import crash_points
from airflow_provider.scriptrun.runs.lineage import Attempt
from airflow_provider.scriptrun.runs.submission import submit
from tests.runs.crash_worker import FileStore, Log
from tests.ssh.worker import NAME

#: A try that takes longer hangs.
PATIENCE_S = 120.0
MAX_TRIES = 50
EXPERIMENT = "tries"
_PAUSE_S = 0.005


class Try:
    """A try, begun when the constructor returns. A fork, since that spares it the imports.

    :param folder: of the task: ``source/``, and what its tries leave there.
    :param crash_point: where it kills itself, see :mod:`airflow_provider.scriptrun.runs.crash_points`.
    """

    def __init__(self, folder: Path, number: int, arguments: Sequence[str], crash_point: str = "") -> None:
        self._said = folder / f"try{number}.log"
        self._answer = folder / f"try{number}.json"
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._run(folder, number, arguments, crash_point)

    def is_over(self) -> bool:
        """Whether the process has ended."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None

    def kill(self) -> None:
        """Kill it, if it is not over."""
        if not self.is_over():
            os.kill(self.pid, signal.SIGKILL)
            self._wait()

    def was_killed(self) -> bool:
        """Wait for its end; return whether SIGKILL was it."""
        status = self._wait()
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL

    def record(self) -> dict[str, Any]:
        """Wait for its end, which must be a good one; return the run record."""
        assert self._wait() == 0, self._said.read_text()
        record: dict[str, Any] = json.loads(self._answer.read_text())
        return record

    def _wait(self) -> int:
        deadline = time.monotonic() + PATIENCE_S
        while not self.is_over():
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGABRT)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"the try hangs: {self._said.read_text()}")
            time.sleep(_PAUSE_S)
        assert self._status is not None
        return self._status

    def _run(self, folder: Path, number: int, arguments: Sequence[str], crash_point: str) -> NoReturn:
        code = 1
        try:
            said = os.open(self._said, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(said, 1)
            os.dup2(said, 2)
            sys.stdout = sys.stderr = os.fdopen(said, "w", buffering=1)
            os.environ[crash_points.VARIABLE] = crash_point
            surroundings = AirflowSurroundings(folder)
            run = submit(
                ScriptRunConfig("source", "main.py", compute_target=NAME, arguments=list(arguments)),
                workspace=Workspace.from_config(surroundings),
                experiment=EXPERIMENT,
                lineage=FileStore(folder / "state"),
                attempt=Attempt(number, MAX_TRIES),
                surroundings=surroundings,
                reporter=(log := Log(folder / "task.log")),
            )
            run.watch(log)
            record = run.collect(reporter=log)
            run.mark_delivered()
            run.close()
            self._answer.write_text(json.dumps(record))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
