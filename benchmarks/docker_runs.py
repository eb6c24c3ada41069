"""Runs in containers against the Docker provider's DockerOperator: the same image, engine and script, in turns.

Both go through Airflow's own task supervisor (see ``worker``), from the parsing of a DAG file of their own on. The
image is there. A task of ours takes a snapshot, brings the outputs home and writes the record; the peer's has the
script in its command. "First line" is the moment at which the task log has it. 100 MB of lines: ours are counted in
the workspace, the peer's in the task log, which is all that it has.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from airflow_provider.scriptrun import Experiment, ScriptRunConfig, Workspace
from benchmarks import trees
from benchmarks.place import workbench
from benchmarks.report import Row, row
from scripts import base_image, docker_engine

ROUNDS = 7
TREE_ROUNDS = 5
#: What ours may take more, as promised.
FIRST_LINE_MS, TASK_MS, CHANGE_MS = 150.0, 300.0, 300.0
LOG_BYTES, LINE_BYTES = 100_000_000, 100
LOG_BYTES_PER_MS = 20_000.0
AT_ONCE = 20
FIRST = "the first line"
HELLO = f'print("{FIRST}", flush=True)\n'
LINES = f"import sys\nsys.stdout.write('{'x' * (LINE_BYTES - 1)}\\n' * {LOG_BYTES // LINE_BYTES})\n"
CONNECTION = "bench_engine"
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
    with tempfile.TemporaryDirectory(prefix="scriptrun-bench-", dir=workbench()) as name, at_engine() as image:
        folder = Path(name)
        scripts = {"hello": HELLO, "lines": LINES}
        (folder / "code").mkdir()
        for script, text in scripts.items():
            (folder / "code" / f"{script}.py").write_text(text)
        for who, text in DAG_FILES.items():
            (folder / f"{who}.py").write_text(
                text.format(image=image, url=docker_engine.url(), scripts=scripts, connection=CONNECTION)
            )
        os.environ |= {
            "AIRFLOW_HOME": str(folder / "home"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__SCRIPTRUN__WORKSPACE": str(folder / "workspace"),
            "AIRFLOW__SCRIPTRUN__CACHE_DIRECTORY": str(folder / "cache"),
        }
        return [*_tasks(folder), *_log(folder), *_changes(folder), _at_once(folder)]


@contextlib.contextmanager
def at_engine() -> Iterator[str]:
    """Name a connection to the machine's engine, with a volume of its own; return the image."""
    from tests.docker.leaks import Leaks

    image = base_image.ensure()
    volume = f"scriptrun-bench-{secrets.token_hex(4)}"
    extra = {"base_image": image, "volume": volume, "network": "host"}
    os.environ[f"AIRFLOW_CONN_{CONNECTION.upper()}"] = json.dumps({"conn_type": "scriptrun_docker", "extra": extra})
    try:
        yield image
    finally:
        leaks = Leaks(docker_engine.url())
        leaks.remove(leaks.found(volume))
        leaks.close()


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
    config = ScriptRunConfig(str(folder / "code"), script="lines.py", compute_target=CONNECTION)
    begun = time.perf_counter()
    run = experiment.submit(config)
    run.wait_for_completion()
    ours = (time.perf_counter() - begun) * 1000
    size = run.record["log"]["bytes"]
    run.close()
    if size != LOG_BYTES:
        raise RuntimeError(f"{size} bytes of {LOG_BYTES} came home")
    log = folder / "task.log"
    log.unlink(missing_ok=True)
    peer = run_task(folder, "peer.py", "lines", log)
    whole = sum(event.endswith("x" * (LINE_BYTES - 1)) for event in peer.events)
    lost = 100 * (1 - whole * LINE_BYTES / LOG_BYTES)
    return [
        row("100 MB of log into the workspace, the whole run", ours, "20 MB/s", LOG_BYTES / LOG_BYTES_PER_MS, 1.0),
        row("the same", ours, f"{PEER}, task log ({lost:.1f} % of lines not whole)", peer.seconds * 1e3),
    ]


def _changes(folder: Path) -> list[Row]:
    code = folder / "tree"
    files = trees.make(code, trees.LARGE)
    (code / "hello.py").write_text(HELLO)
    experiment = Experiment(Workspace(str(folder / "workspace")), "tree")
    same, changed = [], []
    _submit(experiment, code)  # sends all of it
    for number in range(TREE_ROUNDS):
        same.append(_submit(experiment, code))
        files[number].write_text(f"changed {number}")
        changed.append(_submit(experiment, code))
    ours, peer = statistics.median(changed), statistics.median(same)
    name = f"one file of {trees.LARGE.files:,} changed (at most {CHANGE_MS:.0f} ms more)"
    return [row(name, ours, "nothing changed", peer, (peer + CHANGE_MS) / peer)]


def _submit(experiment: Experiment, code: Path) -> float:
    begun = time.perf_counter()
    run = experiment.submit(ScriptRunConfig(str(code), script="hello.py", compute_target=CONNECTION))
    run.wait_for_completion()
    run.close()
    return (time.perf_counter() - begun) * 1000


def _at_once(folder: Path) -> Row:
    experiment = Experiment(Workspace(str(folder / "workspace")), "many")
    code = folder / "code"
    one = _submit(experiment, code)
    begun = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda _: _submit(experiment, code), range(AT_ONCE)))
    each = (time.perf_counter() - begun) * 1000 / AT_ONCE
    return row(f"{AT_ONCE} runs at once, each", each, "a single run", one, 1.0)
