"""Environments: a build against the same three commands of uv by hand, in turns, on one warm cache; and a reuse."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Row, row
from scripts.programs import UV

ROUNDS = 4
REUSES = 20
REQUIREMENTS = ["numpy", "scipy", "scikit-learn"]
BUILD_AT_MOST = 1.1
REUSE_AT_MOST_MS = 20.0
REPOSITORY = Path(__file__).resolve().parent.parent
#: What the child of a run's supervisor does: what the supervisor has imported itself is there when the clock starts.
PREPARE = """
import json, sys, time
asked = json.load(sys.stdin)
from airflow_provider.scriptrun.supervisor import serve, supervise
begun = time.perf_counter()
from airflow_provider.scriptrun.supervisor import environment
from airflow_provider.scriptrun.supervisor.layout import Layout
prepared = environment.prepare(Layout(asked["root"]), asked["plan"], secrets={}, tools={"uv": asked["uv"]})
print("TOOK", time.perf_counter() - begun, prepared.reused)
"""


def rows() -> list[Row]:
    """Milliseconds of a build, by us and by hand, and of a reuse in a new process."""
    with tempfile.TemporaryDirectory(prefix="scriptrun-bench-") as folder:
        place = Path(folder)
        _by_hand(place / "warm-up")
        _ours(place / "warm-up-root", reused=False)
        ours, by_hand = [], []
        for turn in range(ROUNDS):
            by_hand.append(_by_hand(place / f"hand-{turn}"))
            ours.append(_ours(place / f"root-{turn}", reused=False))
        reuse = statistics.median(_ours(place / "root-0", reused=True) for _ in range(REUSES))
    what = " ".join(REQUIREMENTS)
    return [
        row(f"build: {what}", min(ours), "uv venv, pip compile, pip install by hand", min(by_hand), BUILD_AT_MOST),
        row(f"reuse: {what}", reuse, "the promised limit", REUSE_AT_MOST_MS, 1.0),
    ]


def _by_hand(folder: Path) -> float:
    folder.mkdir()
    asked, lock, made = folder / "requirements.in", folder / "requirements.txt", folder / "venv"
    asked.write_text("\n".join(REQUIREMENTS) + "\n")
    python = os.path.realpath(sys.executable)
    begun = time.perf_counter()
    for arguments in (
        ["venv", "--python", python, made],
        ["pip", "compile", "--python", python, asked, "-o", lock],
        ["pip", "install", "--compile-bytecode", "--python", made / "bin" / "python", "-r", lock],
    ):
        subprocess.run([UV, *arguments], check=True, capture_output=True, cwd=folder)
    return (time.perf_counter() - begun) * 1000


def _ours(root: Path, *, reused: bool) -> float:
    asked = {"root": str(root), "uv": UV, "plan": _plan()}
    done = subprocess.run(
        [sys.executable, "-c", PREPARE],
        input=json.dumps(asked),
        check=True,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    )
    _, seconds, said = next(line for line in done.stdout.splitlines() if line.startswith("TOOK")).split()
    if said != str(reused):
        raise RuntimeError(f"expected reused={reused}:\n{done.stdout}")
    return float(seconds) * 1000


def _plan() -> dict[str, object]:
    """Return the plan of a requirements file with these lines and no settings."""
    return {
        "schema": 1,
        "kind": "pip",
        "interpreter": None,
        "python": None,
        "requirements": REQUIREMENTS,
        "constraints": [],
        "options": {"pre": False, "require_hashes": False, "no_binary": [], "only_binary": []},
        "index": {"url": None, "extra": [], "find_links": [], "no_index": False},
        "conda": None,
        "delivery": {"lock_max_age_s": 86_400.0, "refresh": False, "variables": {}, "ca": None},
    }
