"""Tasks of two DAG files in turns, from a process that has loaded neither the provider nor its peer.

``python -m benchmarks.docker_tasks FOLDER ROUNDS LINE``: runs the task ``hello`` of ``ours.py`` and of ``peer.py`` in
FOLDER and prints, as JSON, for each the milliseconds until LINE is in the task log and until the task has ended. A
task's process is forked from this one, as a LocalExecutor's is from the scheduler: what is loaded here costs nothing.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path

from benchmarks.worker import run_task

WHO = ("ours", "peer")


def main(folder: Path, rounds: int, line: str) -> None:
    """Measure and print; the first round, which loads and sends what stays, is not counted."""
    found: dict[str, list[tuple[float, float]]] = {who: [] for who in WHO}
    for number in range(rounds + 1):
        for who in WHO:
            took = _task(folder, who, line)
            if number:
                found[who].append(took)
    loaded = {"docker", "paramiko", "airflow_provider.scriptrun.targets"} & set(sys.modules)
    if loaded:
        raise RuntimeError(f"tasks inherited what they should have loaded: {', '.join(sorted(loaded))}")
    print(json.dumps(found))


def _task(folder: Path, who: str, line: str) -> tuple[float, float]:
    log = folder / "task.log"
    log.unlink(missing_ok=True)
    begun = time.time()
    done = run_task(folder, f"{who}.py", "hello", log)
    events = map(json.loads, log.read_text().splitlines())
    seen = next(event["timestamp"] for event in events if str(event["event"]).endswith(line))
    return (datetime.fromisoformat(seen).timestamp() - begun) * 1000, done.seconds * 1000


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
