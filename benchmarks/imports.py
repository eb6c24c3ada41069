"""What a DAG file pays for our names beyond ``import airflow.sdk``, each in new processes, in turns."""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks.report import Row, row

ROUNDS = 7
#: What a DAG file imports from us, and the most that it may add.
OURS = "from airflow_provider.scriptrun import Environment, ScriptRunConfig, ScriptRunOperator"
AT_MOST = 1.05
#: Both times in one process, since two processes differ by more than what is measured.
CODE = f"""
import time
begun = time.perf_counter()
import airflow.sdk
from airflow.sdk import DAG, task
loaded = time.perf_counter()
{OURS}
print(loaded - begun, time.perf_counter() - begun)
"""


def rows() -> list[Row]:
    """Milliseconds of the imports of a DAG file with ours, and without."""
    measured = [_measure() for _ in range(ROUNDS + 1)][1:]  # the first one compiles
    without, whole = (statistics.median(times) * 1000 for times in zip(*measured, strict=True))
    return [row("imports of a DAG file", whole, "import airflow.sdk", without, AT_MOST)]


def _measure() -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True)
    without, whole = map(float, done.stdout.split())
    return without, whole
