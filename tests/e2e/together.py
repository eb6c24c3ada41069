"""What happens to the tasks of several lanes at once, and what must hold of them in the end."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

from scripts.airflow_services import TRIGGERERS, AirflowServices
from tests.e2e.lane import Lane


def until_all_wait(jobs: list[Lane]) -> list[Lane]:
    """Wait until each script runs and each task waits."""
    for job in jobs:
        job.until_started()
        job.until_waiting()
    return jobs


def told(jobs: list[Lane], text: str) -> None:
    """Let each script print a line, and wait until it is in the task's log."""
    for job in jobs:
        job.say(text)
    for job in jobs:
        job.until_shown(text)


def runner_of(job: Lane) -> int:
    """The process id of the task runner that executes the task."""
    return int(job.until(lambda: job.task()["pid"], "the worker of the task"))


def until_runner_gone(job: Lane, pid: int) -> None:
    """Wait until a task runner is no more, or waits to be buried."""
    job.until(lambda: parent_of(pid) is None, f"the end of the worker {pid}")


def parent_of(pid: int) -> int | None:
    """Return the process that started this one; ``None`` where it is no more, or waits to be buried."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[:2]
    except OSError:
        return None
    return None if state == "Z" else int(parent)


def kill_runner(pid: int) -> bool:
    """Kill a task runner, and the process that watches over it, as when their host dies: whether it still lived."""
    parent = parent_of(pid)
    if parent is None:
        return False
    for process in (parent, pid):
        with contextlib.suppress(ProcessLookupError):  # it has ended just now
            os.kill(process, signal.SIGKILL)
    return True


def kill_watchers(airflow: AirflowServices, jobs: Iterable[Lane]) -> None:
    """Kill the worker of each task that waits there, and all triggerers."""
    for job in jobs:
        if not job.is_deferrable:
            assert kill_runner(runner_of(job)), job
    for name in TRIGGERERS:
        airflow[name].kill()


def until_canceled(job: Lane) -> None:
    """Wait until the script is dead, its run says so, and nothing of it is left."""
    (run_id,) = job.starts()
    job.until_gone(run_id)
    job.until(lambda: job.status(run_id)["status"] == "Canceled", "the run's being Canceled")
    job.until(lambda: not job.has_container(run_id), "the end of its container")


def check_success(job: Lane, *lines: str, starts: int = 1) -> None:
    """The script started so often; the record and the whole log are those of its last run."""
    assert job.until_over() == "success", job
    runs = job.starts()
    assert len(runs) == len(set(runs)) == starts, job
    record = job.record()
    assert (record["run_id"], record["status"]) == (runs[-1], "Completed"), job
    assert [file["path"] for file in record["outputs"]["files"]] == ["begun.txt", "done.txt"], job
    assert job.run_log(record) == ["the script has started", *lines, "the script is done"], job
