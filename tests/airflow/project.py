"""A DAG folder with a script, a workspace and a target, all under one temporary folder, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PATIENCE_SECONDS = 30.0

#: What most tests run: leaves traces outside of its own folder, so that a test can count and steer it.
SCRIPT = """
import os, pathlib, sys, time
traces = pathlib.Path(sys.argv[1])
with open(traces / "ran", "a") as file:
    file.write(os.environ["SCRIPTRUN_RUN_ID"] + " " + str(os.getpid()) + "\\n")
for number in range(3):
    print("line", number)
pathlib.Path("outputs/model.txt").write_text("trained" * 1000)
while (traces / "hold").exists():
    time.sleep(0.01)
if (traces / "fail").exists():
    print("no convergence")
    sys.exit(3)
print("done")
"""

DAG_FILE = """
from datetime import timedelta
from airflow.sdk import DAG
from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator

with DAG("dag", schedule=None) as dag:
    ScriptRunOperator(task_id="train", config=ScriptRunConfig({config}), {operator})
"""


@dataclass(frozen=True)
class Project:
    """Where everything of one test is."""

    root: Path
    shared_target: Path | None = None  #: a target that other tests have used before

    @property
    def dags(self) -> Path:
        """The DAG folder; ``code/train.py`` is in it."""
        return self.root / "dags"

    @property
    def traces(self) -> Path:
        """What scripts leave, and look at: ``ran``, ``hold``, ``fail``."""
        return self.root / "traces"

    @property
    def target(self) -> Path:
        """The root of the target ``local``."""
        return self.shared_target or self.root / "target"

    @property
    def workspace(self) -> Path:
        """The workspace."""
        return self.root / "workspace"

    @property
    def variables(self) -> dict[str, str]:
        """The environment of Airflow's processes."""
        return {
            "AIRFLOW_HOME": str(self.root / "home"),
            "AIRFLOW__SCRIPTRUN__WORKSPACE": str(self.workspace),
            "AIRFLOW__SCRIPTRUN__CACHE_DIRECTORY": str(self.root / "cache"),
            "AIRFLOW__SCRIPTRUN__LOCAL_ROOT": str(self.target),
            "AIRFLOW__SCRIPTRUN__LOCAL_INTERPRETER": sys.executable,
            "AIRFLOW__SCRIPTRUN__CANCEL_GRACE_SECONDS": "2",
        }

    def write_dag(self, operator: str = "", config: str = "", script: str = SCRIPT) -> Path:
        """Write a DAG file with the task ``train``, and its script."""
        (self.dags / "code").mkdir(parents=True, exist_ok=True)
        (self.dags / "code" / "train.py").write_text(script)
        fields = f'source_directory="code", script="train.py", arguments=[{str(self.traces)!r}], {config}'
        path = self.dags / "dag.py"
        path.write_text(DAG_FILE.format(config=fields, operator=operator))
        return path

    def commit(self, remote: str) -> str:
        """Make a Git repository of the DAG folder, as a clone of a remote; returns its commit."""
        for command in (
            ["init", "--quiet"],
            ["remote", "add", "origin", remote],
            ["add", "."],
            ["-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "--quiet", "--message=all"],
        ):
            subprocess.run(["git", *command], cwd=self.dags, check=True)
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=self.dags, check=True, capture_output=True, text=True)
        return head.stdout.strip()

    def hold(self) -> None:
        """Let scripts wait, once they have begun, for :meth:`release`."""
        (self.traces / "hold").touch()

    def release(self) -> None:
        """Let scripts go on."""
        (self.traces / "hold").unlink(missing_ok=True)

    def starts(self) -> list[tuple[str, int]]:
        """(run id, process id) of each start of a script."""
        path = self.traces / "ran"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(line.split()[0], int(line.split()[1])) for line in lines]

    def run_log(self, run_id: str) -> bytes:
        """The log of a run as the workspace has it."""
        (path,) = self.workspace.glob(f"**/{run_id}/run.log")
        return path.read_bytes()

    def status(self, run_id: str) -> Mapping[str, Any]:
        """The status of a run as the target has it."""
        document: Mapping[str, Any] = json.loads((self.target / "runs" / run_id / "status.json").read_text())
        return document

    def clean_up(self) -> None:
        """Cancel what still runs: a test that failed in the middle leaves no process behind."""
        from airflow_provider.scriptrun.targets.local import LocalTarget

        self.release()
        runs = self.target / "runs"
        alive = [path.name for path in runs.iterdir()] if runs.exists() else []
        if not alive:
            return
        with LocalTarget(str(self.target), sys.executable) as target:
            for run_id, status in target.status(alive).items():
                if not status.is_terminal:
                    target.cancel(run_id)


def until(question: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait for what shows in a file or a process, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = question()
        if answer:
            return answer
        time.sleep(0.005)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def is_alive(pid: int) -> bool:
    """Whether the process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def open_descriptors() -> int:
    """How many files, pipes and sockets this process has open.

    Without the selectors: Airflow's in-process supervisor makes one for each task and leaves it to the collector.
    """
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the folder's own descriptor
            found += os.readlink(f"/proc/self/fd/{name}") != "anon_inode:[eventpoll]"
    return found
