"""From submit to the script's first line, and from its end to the caller knowing it."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from airflow_provider.scriptrun import ScriptRunConfig
from benchmarks import trees
from benchmarks.place import Place, kept, place
from benchmarks.report import Row, row

ROUNDS = 9
#: Beyond the interpreter's own start (and 1.5 times `cp -a` of the tree), as promised.
SUBMIT_MS = 150.0
END_MS = 100.0
DEMO = Path(__file__).resolve().parent.parent / "dags" / "training"
SCRIPT = 'import time\nprint(time.time(), flush=True)\nimport os\nos.write(1, b"%r\\n" % time.time())\n'


def rows() -> list[Row]:
    """On the demo's tree, on 2,000 and on 10,000 files."""
    made = []
    with place() as here:
        demo = here.base_directory / "demo"
        shutil.copytree(DEMO, demo)
        made += _rows(here, demo, "the demo's tree")
        for tree in (trees.SMALL, trees.LARGE):
            folder = here.base_directory / tree.name
            trees.make(folder, tree)
            made += _rows(here, folder, f"{tree.files:,} files")
            shutil.rmtree(folder)
    return made


def _rows(here: Place, folder: Path, name: str) -> list[Row]:
    (folder / "first_line.py").write_text(SCRIPT)
    submit, end, interpreter, copies = [], [], [], []
    for number in range(ROUNDS + 1):
        one, two = _round(here, folder)
        interpreter.append(_interpreter(folder))
        copies.append(_copy(folder, here.base_directory / "copy"))
        if number:  # the first one sends everything
            submit.append(one)
            end.append(two)
    start = statistics.median(interpreter)
    copy = statistics.median(copies)
    budget = start + SUBMIT_MS + (1.5 * copy if "files" in name else 0)
    peer = "python's own start + 150 ms" + (" + 1.5 x cp -a" if "files" in name else "")
    return [
        row(f"submit to first line, {name}", statistics.median(submit), peer, budget, 1.0),
        row(f"end to the caller knowing it, {name}", statistics.median(end), "100 ms", END_MS, 1.0),
    ]


def _round(here: Place, folder: Path) -> tuple[float, float]:
    config = ScriptRunConfig(str(folder), script="first_line.py")
    begun = time.time()
    run = here.experiment.submit(config)
    run.watch()
    known = time.time()
    run.collect()
    first, last = (float(line) for line in kept(run, "run.log").read_text().split())
    run.close()
    return (first - begun) * 1000, (known - last) * 1000


def _interpreter(folder: Path) -> float:
    begun = time.time()
    done = subprocess.run([sys.executable, folder / "first_line.py"], capture_output=True, text=True, check=True)
    return (float(done.stdout.split()[0]) - begun) * 1000


def _copy(folder: Path, destination: Path) -> float:
    begun = time.perf_counter()
    subprocess.run(["cp", "-a", folder, destination], check=True)
    took = (time.perf_counter() - begun) * 1000
    shutil.rmtree(destination)
    return took
