"""The whole operator against BashOperator, and lines into the task log, through the same worker."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.report import Row, row

ROUNDS = 5
LINES = 100_000
#: 100 bytes with the newline
LINE = "x" * 99

DAG_FILE = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator

with DAG("bench", schedule=None):
    for script in ("hello", "lines"):
        BashOperator(task_id="bash_" + script, bash_command="{python} {folder}/code/" + script + ".py")
        ScriptRunOperator(task_id="ours_" + script, config=ScriptRunConfig("code", script=script + ".py"))
"""


def rows() -> list[Row]:
    """Wall time of a whole task, and milliseconds for 100,000 lines of 100 bytes beyond it."""
    with tempfile.TemporaryDirectory(prefix="scriptrun-bench-") as name:
        folder = Path(name)
        code = folder / "code"
        code.mkdir()
        (code / "hello.py").write_text('print("hello")\n')
        (code / "lines.py").write_text(f'import sys\nsys.stdout.write("{LINE}\\n" * {LINES})\n')
        (folder / "bench.py").write_text(DAG_FILE.format(python=sys.executable, folder=folder))
        os.environ |= {
            "AIRFLOW_HOME": str(folder / "home"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__SCRIPTRUN__LOCAL_ROOT": str(folder / "target"),
        }
        from benchmarks.worker import run_task

        def measure(task: str, rounds: int) -> list[float]:
            times = []
            for number in range(rounds + 1):
                log = folder / f"{task}.{number}.log"
                done = run_task(folder, "bench.py", task, log)
                if task.endswith("lines") and sum(event == LINE for event in done.events) != LINES:
                    raise RuntimeError(f"{task} lost lines")
                times.append(done.seconds * 1000)
            return times[1:]  # the first one of ours sends the code

        ours, bash = measure("ours_hello", ROUNDS), measure("bash_hello", ROUNDS)
        our_lines, bash_lines = measure("ours_lines", 3), measure("bash_lines", 3)
        # the least of each: Airflow's own supervisor now and then looks for the end only after five seconds
        hello = min(ours), min(bash)
        lines = min(our_lines) - hello[0], min(bash_lines) - hello[1]
        return [
            row("a task whose script says hello", hello[0], "BashOperator", hello[1]),
            row("100,000 lines of 100 bytes into the task log", lines[0], "BashOperator", lines[1], 1 / 0.8),
        ]
