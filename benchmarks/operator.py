"""The whole operator against BashOperator: through the same worker, and in the same Airflow.

In the worker, nothing but the task is measured: no scheduler, no API server. A task that defers has two slices there,
before and behind its trigger; what passes between them is not measured. In a real Airflow, DAG runs of one task each
are measured from being queued to their end. There the deferred script takes a few seconds, since a trigger does not
fire earlier: the scheduler has to hear of the deferral first.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks import dag_runs
from benchmarks.place import workbench
from benchmarks.report import Row, row

ROUNDS = 5
LINES_ROUNDS = 2
AIRFLOW_ROUNDS = 3
LINES = 100_000
#: 100 bytes with the newline
LINE = "x" * 99
NAP_S = 5
#: What a real Airflow may take to start, as promised.
START_MS = 90_000.0

DAG_FILE = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator

with DAG("bench", schedule=None):
    for script in ("hello", "lines"):
        BashOperator(task_id="bash_" + script, bash_command="{python} {folder}/code/" + script + ".py")
        ScriptRunOperator(task_id="ours_" + script, config=ScriptRunConfig("code", script=script + ".py"))
    ScriptRunOperator(task_id="deferred", config=ScriptRunConfig("code", script="hello.py"), deferrable=True)
"""
#: A DAG of one task each: what is measured is the DAG run.
DAG_RUNS_FILE = """
from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator

RETRIES = {{"retries": 3, "retry_delay": timedelta(seconds=1)}}
for script in ("hello", "nap"):
    with DAG("bash_" + script, schedule=None, default_args=RETRIES):
        BashOperator(task_id="task", bash_command="{python} {folder}/code/" + script + ".py")
with DAG("ours_hello", schedule=None, default_args=RETRIES):
    ScriptRunOperator(task_id="task", config=ScriptRunConfig("code", script="hello.py"))
with DAG("ours_nap", schedule=None, default_args=RETRIES):
    ScriptRunOperator(task_id="task", config=ScriptRunConfig("code", script="nap.py"), deferrable=True)
"""
SETTINGS = {
    "AIRFLOW__SCRIPTRUN__DEFER_AFTER_SECONDS": "0",
    "AIRFLOW__SCRIPTRUN__TRIGGERER_SHARES_HOST": "True",
}


def rows() -> list[Row]:
    """Wall time of whole tasks and DAG runs, and milliseconds for 100,000 lines of 100 bytes beyond a task."""
    with tempfile.TemporaryDirectory(prefix="scriptrun-bench-", dir=workbench()) as name:
        folder = Path(name)
        return [*_in_worker(folder / "worker"), *_in_airflow(folder / "airflow")]


def _in_worker(folder: Path) -> list[Row]:
    _write(folder, DAG_FILE)
    os.environ |= {
        "AIRFLOW_HOME": str(folder / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__SCRIPTRUN__LOCAL_ROOT": str(folder / "target"),
        **SETTINGS,
    }
    from benchmarks.worker import run_deferred, run_task

    log = folder / "task.log"

    def measure(task: str) -> float:
        log.unlink(missing_ok=True)
        done = run_task(folder, "bench.py", task, log)
        if task.endswith("lines") and sum(event == LINE for event in done.events) != LINES:
            raise RuntimeError(f"{task} lost lines")
        return done.seconds * 1000

    measure("ours_hello")  # the first one sends the code
    hello, deferred = [], []
    for _ in range(ROUNDS):
        hello.append((measure("ours_hello"), measure("bash_hello")))
        deferred.append(run_deferred(folder, "bench.py", "deferred", log))
    lines = [(measure("ours_lines"), measure("bash_lines")) for _ in range(LINES_ROUNDS)]
    # the least of each: Airflow's own supervisor now and then looks for the end only after five seconds
    ours, bash = map(min, zip(*hello, strict=True))
    first, second = (min(each) * 1000 for each in zip(*deferred, strict=True))
    our_lines, bash_lines = map(min, zip(*lines, strict=True))
    return [
        row("a task whose script says hello", ours, "BashOperator", bash),
        row(f"the same, deferred: both slices ({first:.0f} and {second:.0f})", first + second, "BashOperator", bash),
        row(
            "100,000 lines of 100 bytes into the task log", our_lines - ours, "BashOperator", bash_lines - bash,
            1 / 0.8,
        ),
    ]  # fmt: skip


def _in_airflow(folder: Path) -> list[Row]:
    _write(folder / "dags", DAG_RUNS_FILE)
    start_s, took = dag_runs.seconds(
        folder / "home", folder / "dags", ("bash_hello", "ours_hello", "bash_nap", "ours_nap"), AIRFLOW_ROUNDS, SETTINGS
    )
    least = {dag_id: min(each) * 1000 for dag_id, each in took.items()}
    return [
        row("a real Airflow from nothing, with its database", start_s * 1000, "the promised limit", START_MS, 1.0),
        row("a DAG run whose script says hello", least["ours_hello"], "BashOperator", least["bash_hello"]),
        row(
            f"a DAG run whose script takes {NAP_S} s, deferred", least["ours_nap"],
            "BashOperator, not deferred", least["bash_nap"],
        ),
    ]  # fmt: skip


def _write(dags: Path, dag_file: str) -> None:
    """Write a DAG file and the scripts that it runs."""
    code = dags / "code"
    code.mkdir(parents=True)
    (code / "hello.py").write_text('print("hello")\n')
    (code / "nap.py").write_text(f"import time\n\ntime.sleep({NAP_S})\n")
    (code / "lines.py").write_text(f'import sys\nsys.stdout.write("{LINE}\\n" * {LINES})\n')
    (dags / "bench.py").write_text(dag_file.format(python=sys.executable, folder=dags))
