"""A whole Airflow of its own, on SQLite, under one folder: made, started, asked over its REST API, stopped.

``make demo`` and ``make up`` are this file; the smoke tests use its class. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.airflow_api import AirflowInstanceError, quoted
from scripts.airflow_home import CHECKOUT, AirflowHome
from scripts.service import uninterrupted

#: How long the four processes of Airflow may take until the API answers and every part is healthy: half a minute, and
#: six of them were seen on two cores that a dozen processes wanted.
START_TIMEOUT_SECONDS = 900
#: How long the processes have to end before they are killed.
STOP_TIMEOUT_SECONDS = 20


class AirflowInstance(AirflowHome):
    """``airflow standalone``: all of Airflow's processes under one."""

    _process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """Where Airflow's own processes write."""
        return self.home / "standalone.log"

    @property
    def where_to_look(self) -> str:
        """What an error names as the place to read on."""
        return str(self.log)

    def start(self) -> None:
        """Start Airflow; return when it is healthy. Raises ``AirflowInstanceError``, with nothing left running."""
        self.choose_password()
        try:
            with self.log.open("ab") as log, uninterrupted():
                self._process = subprocess.Popen(
                    [str(self.python), "-m", "airflow", "standalone"],
                    cwd=self.home, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
            self.until(self._healthy, START_TIMEOUT_SECONDS, "Airflow did not become healthy")
            self.until(self.serves_tasks, START_TIMEOUT_SECONDS, "Airflow does not serve tasks")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process that this instance started; those that do not go are killed."""
        process, self._process = self._process, None
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_SECONDS)
            deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
            while _group_lives(process.pid) and time.monotonic() < deadline:
                time.sleep(0.1)
            if not _group_lives(process.pid):
                return

    @contextlib.contextmanager
    def running(self) -> Iterator[AirflowInstance]:
        """Start, hand over, stop whatever happens."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def wait(self) -> int:
        """Wait until Airflow ends by itself; return its exit code."""
        if self._process is None:
            raise AirflowInstanceError("this Airflow was not started")
        return self._process.wait()

    def _healthy(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise AirflowInstanceError(f"Airflow ended with {self._process.returncode}; see {self.log}")
        return self.is_healthy("metadatabase", "scheduler", "dag_processor")


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def demo(instance: AirflowInstance, dag_id: str, report_task: str) -> int:
    """Run a DAG in an Airflow of its own and print what its last task prints; return 0 when it succeeds."""
    print(f"Starting Airflow at {instance.url} (its log: {instance.log}) ...", flush=True)
    with instance.running():
        run_id = instance.trigger(dag_id)
        print(f"DAG {dag_id} runs as {run_id} ...", flush=True)
        state = instance.wait_for_run(dag_id, run_id, timeout_seconds=900)
        tasks = instance.api("GET", f"/dags/{dag_id}/dagRuns/{quoted(run_id)}/taskInstances")["task_instances"]
        for task in tasks:
            print(f"  {task['task_id']:<12} {task['state']}  {task['duration'] or 0:.1f} s")
        shown = [report_task] if state == "success" else [t["task_id"] for t in tasks if t["state"] == "failed"]
        for task_id in shown:
            number = next(t["try_number"] for t in tasks if t["task_id"] == task_id)
            print("\n".join(_printed(instance.task_log(dag_id, run_id, task_id, number), whole=state != "success")))
    print(f"The DAG run ended: {state}")
    return 0 if state == "success" else 1


def _printed(lines: list[str], *, whole: bool) -> list[str]:
    """Only what the task printed between the report's rules, or all of the log where it failed."""
    if whole:
        return lines
    rules = [number for number, line in enumerate(lines) if line.startswith("=====")] or [0]
    # the log's own lines may stand between those that the task printed: the two arrive on different ways
    between = [line for line in lines[rules[0] : rules[-1] + 1] if not line.startswith(("::", "Done. Returned"))]
    return between if len(rules) >= 2 else lines


def _up(instance: AirflowInstance) -> int:
    print(f"Starting Airflow (its log: {instance.log}) ...", flush=True)
    with instance.running():
        user, password = instance.login
        print(f"\n  Airflow: {instance.url}\n  user:    {user}\n  password: {password}\n\nCtrl-C stops it.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            return instance.wait()
    return 0


def main() -> int:
    """``demo`` runs the example DAG and prints its report; ``up`` serves the example DAGs until Ctrl-C."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("what", choices=("demo", "up"))
    parser.add_argument("--dag", default="train_local")
    parser.add_argument("--report-task", default="report")
    parser.add_argument("--port", type=int, default=None)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    port = arguments.port if arguments.port is not None else (8080 if arguments.what == "up" else 0)
    instance = AirflowInstance(CHECKOUT / ".airflow", CHECKOUT / "dags", port=port)
    try:
        if arguments.what == "up":
            return _up(instance)
        return demo(instance, arguments.dag, arguments.report_task)
    except AirflowInstanceError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
