"""Environments as images: what building one takes against the same by hand, and what one that is there costs a run.

By hand is ``docker build`` with the Dockerfile that one would write, on the same engine. Of ours, what a run takes
beyond one whose image is there. Each build is of something that nobody has built before.
"""

from __future__ import annotations

import secrets
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from airflow_provider.scriptrun import Environment, Experiment, ScriptRunConfig, Workspace
from benchmarks.docker_runs import CONNECTION, at_engine
from benchmarks.place import workbench
from benchmarks.report import Row, row
from scripts import docker_engine

ROUNDS = 3
REUSE_ROUNDS = 7
#: What ours may take, as promised.
BUILD_RATIO, REUSE_MS = 1.1, 50.0
REQUIREMENTS = ("iniconfig", "packaging", "pluggy", "pygments")
#: Steps that take about as long as a small package's installation.
STEPS = (
    "RUN mkdir /data && head -c 50000000 /dev/urandom > /data/file # {mark}\n"
    "RUN sha256sum /data/file > /data/sum && sleep 2\n"
)


def rows() -> list[Row]:
    """Milliseconds."""
    with tempfile.TemporaryDirectory(prefix="scriptrun-bench-", dir=workbench()) as name, at_engine() as image:
        bench = _Bench(Path(name), image)
        bench.run(None)  # starts the keeper, sends the code
        return [bench.dockerfiles(), bench.packages(), bench.reuse()]


class _Bench:
    def __init__(self, folder: Path, image: str) -> None:
        self._folder, self._image = folder, image
        self._experiment = Experiment(Workspace(str(folder / "workspace")), "environments")
        (folder / "code").mkdir()
        (folder / "code" / "main.py").write_text("print('hello')\n")

    def run(self, environment: Environment | None) -> float:
        begun = time.perf_counter()
        config = ScriptRunConfig(
            str(self._folder / "code"), script="main.py", compute_target=CONNECTION, environment=environment
        )
        run = self._experiment.submit(config)
        run.wait_for_completion()
        run.close()
        return (time.perf_counter() - begun) * 1000

    def dockerfiles(self) -> Row:
        ours, peer = [], []
        for _ in range(ROUNDS):
            dockerfile = f"FROM {self._image}\n{STEPS}"
            ours.append(self._beyond(Environment.from_dockerfile("image", dockerfile.format(mark=_mark()))))
            peer.append(self._by_hand(dockerfile.format(mark=_mark())))
        what = "an image of a Dockerfile, built for a run"
        return row(what, statistics.median(ours), "docker build", statistics.median(peer), BUILD_RATIO)

    def packages(self) -> Row:
        ours, peer = [], []
        install = f"RUN python3 -m venv /opt/env && /opt/env/bin/pip install --no-cache-dir {' '.join(REQUIREMENTS)}\n"
        self._by_hand(f"FROM {self._image}\n{install}")  # what lies between us and the index has seen them
        for _ in range(ROUNDS):
            ours.append(self._beyond(self._packages(f"{REQUIREMENTS[0]}>=0.0.{secrets.randbelow(10**6)}")))
            peer.append(self._by_hand(f"FROM {self._image}\n{install}"))
        what = f"an image with {len(REQUIREMENTS)} packages, built for a run"
        return row(what, statistics.median(ours), "docker build, pip", statistics.median(peer), BUILD_RATIO)

    def reuse(self) -> Row:
        with_packages, without = [], []
        self.run(self._packages())
        for _ in range(REUSE_ROUNDS):
            with_packages.append(self.run(self._packages()))
            without.append(self.run(None))
        ours, peer = statistics.median(with_packages), statistics.median(without)
        what = f"a run whose environment's image is there (at most {REUSE_MS:.0f} ms more)"
        return row(what, ours, "a run without an environment", peer, (peer + REUSE_MS) / peer)

    def _packages(self, *further: str) -> Environment:
        """Return an environment of the packages; one with a ``further`` line is one that nobody knows."""
        requirements = self._folder / "requirements.txt"
        requirements.write_text("\n".join((*REQUIREMENTS, *further)))
        return Environment.from_pip_requirements("packages", str(requirements))

    def _beyond(self, environment: Environment) -> float:
        """Return what a run takes that builds its environment, beyond the same run afterwards."""
        first = self.run(environment)
        return first - statistics.median(self.run(environment) for _ in range(ROUNDS))

    def _by_hand(self, dockerfile: str) -> float:
        begun = time.perf_counter()
        docker = ("docker", "--host", docker_engine.url())
        name = f"scriptrun-bench:{_mark()}"
        command = (*docker, "build", "--quiet", "--no-cache", "--network", "host", "--tag", name, "-")
        subprocess.run(command, input=dockerfile.encode(), check=True, capture_output=True)
        took = (time.perf_counter() - begun) * 1000
        subprocess.run((*docker, "image", "rm", name), check=True, capture_output=True)
        return took


def _mark() -> str:
    return secrets.token_hex(8)
