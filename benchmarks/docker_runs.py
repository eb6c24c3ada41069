"""Runs in containers against the Docker provider's DockerOperator: the same image, engine and script, in turns.

Both go through Airflow's own task supervisor (see ``worker``), from the parsing of a DAG file of their own on. The
image is there. A task of ours takes a snapshot, brings the outputs home and writes the record; the peer's has the
script in its command. "First line" is the moment at which the task log has it. 100 MB of numbered lines: of ours the
sha256 is compared in the workspace, the peer's are looked for in the task log, which is all that it has.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from airflow_provider.scriptrun import Experiment, Workspace
from benchmarks import docker_at_once, docker_place, trees
from benchmarks.docker_place import CONNECTION, at_engine
from benchmarks.place import kept, workbench
from benchmarks.report import Row, row
from scripts import docker_engine

ROUNDS = 7
TREE_ROUNDS = 5
#: What ours may take more, as promised.
FIRST_LINE_MS, TASK_MS, CHANGE_MS = 150.0, 300.0, 300.0
LOG_BYTES, LINE_BYTES, BLOCK_LINES = 100_000_000, 100, 10_000
LOG_LINES = LOG_BYTES // LINE_BYTES
LOG_BYTES_PER_MS = 20_000.0
#: A line is its number.
DIGITS = LINE_BYTES - 1
FIRST = "the first line"
HELLO = f'print("{FIRST}", flush=True)\n'
LINES = f"""
import sys
for first in range(0, {LOG_LINES}, {BLOCK_LINES}):
    sys.stdout.write("".join("%0{DIGITS}d\\n" % line for line in range(first, first + {BLOCK_LINES})))
"""
PEER = "DockerOperator"
#: Each in a file of its own, which imports what it needs and no more.
DAG_FILES = {
    "peer": """
from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk import DAG

PEER = dict(
    image={image!r}, docker_url={url!r}, mount_tmp_dir=False, auto_remove="success", network_mode="host", tty=False
)
with DAG("bench", schedule=None):
    for name, script in {scripts!r}.items():
        DockerOperator(task_id=name, command=["python3", "-u", "-c", script], **PEER)
""",
    "ours": """
from airflow.sdk import DAG
from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator

with DAG("bench", schedule=None):
    for name in {scripts!r}:
        ScriptRunOperator(
            task_id=name, config=ScriptRunConfig("code", script=name + ".py", compute_target={connection!r})
        )
""",
}


def rows() -> list[Row]:
    """Milliseconds, but where a name says otherwise."""
    with tempfile.TemporaryDirectory(prefix="scriptrun-bench-", dir=workbench()) as name, at_engine() as engine:
        folder = Path(name)
        scripts = {"hello": HELLO, "lines": LINES}
        (folder / "code").mkdir()
        for script, text in scripts.items():
            (folder / "code" / f"{script}.py").write_text(text)
        for who, text in DAG_FILES.items():
            (folder / f"{who}.py").write_text(
                text.format(image=engine.image, url=docker_engine.url(), scripts=scripts, connection=CONNECTION)
            )
        os.environ |= {
            "AIRFLOW_HOME": str(folder / "home"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__SCRIPTRUN__WORKSPACE": str(folder / "workspace"),
            "AIRFLOW__SCRIPTRUN__CACHE_DIRECTORY": str(folder / "cache"),
        }
        return [*_tasks(folder), *_log(folder), *_changes(folder), *docker_at_once.rows(folder, engine)]


def _tasks(folder: Path) -> list[Row]:
    command = [sys.executable, "-m", "benchmarks.docker_tasks", str(folder), str(ROUNDS), FIRST]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
    firsts, wholes = ({who: [took[part] for took in each] for who, each in json.loads(said).items()} for part in (0, 1))
    return [
        _more("submit to first line", firsts, FIRST_LINE_MS),
        _more("a whole task whose script says hello", wholes, TASK_MS),
    ]


def _more(name: str, measured: dict[str, list[float]], allowed_ms: float) -> Row:
    ours, peer = (statistics.median(measured[who]) for who in ("ours", "peer"))
    return row(f"{name} (at most {allowed_ms:.0f} ms more)", ours, PEER, peer, (peer + allowed_ms) / peer)


def _log(folder: Path) -> list[Row]:
    from benchmarks.worker import run_task

    experiment = Experiment(Workspace(str(folder / "workspace")), "lines")
    run, ours = docker_place.run(experiment, folder / "code" / "lines.py")
    written = hashlib.sha256()
    for line in range(LOG_LINES):
        written.update(b"%0*d\n" % (DIGITS, line))
    with kept(run, "run.log").open("rb") as ours_log:
        if hashlib.file_digest(ours_log, "sha256").digest() != written.digest():
            raise RuntimeError("the log in the workspace is not what the script wrote")
    log = folder / "task.log"
    log.unlink(missing_ok=True)
    peer = run_task(folder, "peer.py", "lines", log)
    arrived = {event[-DIGITS:] for event in peer.events}
    lost = 100 * sum(f"{line:0{DIGITS}}" not in arrived for line in range(LOG_LINES)) / LOG_LINES
    return [
        row(
            "100 MB of log into the workspace, sha256 equal, the whole run",
            ours, "20 MB/s", LOG_BYTES / LOG_BYTES_PER_MS, 1.0,
        ),
        row("the same", ours, f"{PEER}, task log ({lost:.1f} % of lines not there)", peer.seconds * 1e3),
    ]  # fmt: skip


def _changes(folder: Path) -> list[Row]:
    code = folder / "tree"
    files = trees.make(code, trees.LARGE)
    script = code / "hello.py"
    script.write_text(HELLO)
    experiment = Experiment(Workspace(str(folder / "workspace")), "tree")
    environment = docker_place.new_packages(folder)

    def measure() -> float:
        run, took = docker_place.run(experiment, script, environment)
        if not docker_place.reuses(run):
            raise RuntimeError("an environment was built that was there")
        return took

    docker_place.run(experiment, script, environment)  # builds it, sends all of the tree
    same, changed = [], []
    for number in range(TREE_ROUNDS):
        same.append(measure())
        files[number].write_text(f"changed {number}")
        changed.append(measure())
    ours, peer = statistics.median(changed), statistics.median(same)
    name = f"one file of {trees.LARGE.files:,} changed, nothing built (at most {CHANGE_MS:.0f} ms more)"
    return [row(name, ours, "nothing changed", peer, (peer + CHANGE_MS) / peer)]
