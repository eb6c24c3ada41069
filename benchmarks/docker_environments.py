"""Environments as images: what building one takes against the same by hand, and what one that is there costs a run.

By hand is ``docker build`` with the Dockerfile that one would write, on the same engine: for packages, with the pip in
it that one has there, where ours uses uv. Of ours, what a run takes beyond one whose image is there. Each build is of
something that nobody has built before.
"""

from __future__ import annotations

import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from airflow_provider.scriptrun import Environment, Experiment, Workspace
from benchmarks import docker_place
from benchmarks.docker_place import REQUIREMENTS, at_engine
from benchmarks.place import workbench
from benchmarks.report import Row, row
from scripts import docker_engine

ROUNDS, BUILD_ROUNDS, REUSE_ROUNDS = 3, 7, 7
#: What ours may take, as promised.
BUILD_RATIO, REUSE_MS = 1.1, 50.0
#: What a Dockerfile does: nothing in it waits, so that what we add shows.
STEPS, FILES = 8, 200
WORK = "import os; [open(f'/data/{step}/{{n}}', 'wb').write(os.urandom(4096)) for n in range({files})]"
STEP = f'RUN mkdir -p /data/{{step}} && python3 -c "{WORK}" && sha256sum /data/{{step}}/* > /data/{{step}}.sums\n'


def rows() -> list[Row]:
    """Milliseconds."""
    with tempfile.TemporaryDirectory(prefix="scriptrun-bench-", dir=workbench()) as name, at_engine() as engine:
        bench = _Bench(Path(name), engine.image)
        bench.run(None)  # starts the keeper, sends the code
        try:
            return [bench.dockerfiles(), bench.packages(), bench.reuse()]
        finally:
            bench.remove()


class _Bench:
    def __init__(self, folder: Path, image: str) -> None:
        self._folder, self._image = folder, image
        self._experiment = Experiment(Workspace(str(folder / "workspace")), "environments")
        self._script = folder / "code" / "main.py"
        self._script.parent.mkdir()
        self._script.write_text("print('hello')\n")
        self._by_hands: list[str] = []

    def run(self, environment: Environment | None, *, reuses: bool | None = None) -> float:
        """Return its milliseconds; ``reuses``: what the record has to say about the environment."""
        run, took = docker_place.run(self._experiment, self._script, environment)
        if reuses not in (None, docker_place.reuses(run)):
            raise RuntimeError(f"{run.id} {'built' if reuses else 'found'} its environment")
        return took

    def dockerfiles(self) -> Row:
        ours, peer = self._turns(
            lambda: self._beyond(Environment.from_dockerfile("image", self._dockerfile())),
            lambda: self._by_hand(self._dockerfile()),
        )
        what = f"an image of a Dockerfile of {STEPS} steps, built for a run"
        return row(what, statistics.median(ours), "docker build", statistics.median(peer), BUILD_RATIO)

    def packages(self) -> Row:
        install = f"RUN python3 -m venv /opt/env && /opt/env/bin/pip install --no-cache-dir {' '.join(REQUIREMENTS)}\n"
        self._by_hand(f"FROM {self._image}\n{install}")  # what lies between us and the index has seen them
        ours, peer = self._turns(
            lambda: self._beyond(docker_place.new_packages(self._folder)),
            lambda: self._by_hand(f"FROM {self._image}\n{install}"),
        )
        what = f"an image with {len(REQUIREMENTS)} packages, built for a run"
        return row(what, statistics.median(ours), "docker build, pip", statistics.median(peer), BUILD_RATIO)

    def reuse(self) -> Row:
        with_packages, without = [], []
        environment = docker_place.new_packages(self._folder)
        self.run(environment, reuses=False)
        for _ in range(REUSE_ROUNDS):
            with_packages.append(self.run(environment, reuses=True))
            without.append(self.run(None))
        ours, peer = statistics.median(with_packages), statistics.median(without)
        what = f"a run whose environment's image is there (at most {REUSE_MS:.0f} ms more)"
        return row(what, ours, "a run without an environment", peer, (peer + REUSE_MS) / peer)

    def _turns(self, ours: Callable[[], float], peer: Callable[[], float]) -> tuple[list[float], list[float]]:
        """Return what each took, now one first and now the other.

        Each finds the same: a run has just ended, nothing is on its way to the disk, and nothing is being removed.
        """
        found: dict[Callable[[], float], list[float]] = {ours: [], peer: []}
        for number in range(BUILD_ROUNDS):
            for work in (ours, peer) if number % 2 else (peer, ours):
                self.run(None)
                os.sync()
                found[work].append(work())
        return found[ours], found[peer]

    def _dockerfile(self) -> str:
        """Return one whose steps nobody has run yet."""
        mark = _mark()
        steps = (STEP.format(step=f"{mark}-{step}", files=FILES) for step in range(STEPS))
        return f"FROM {self._image}\n{''.join(steps)}"

    def _beyond(self, environment: Environment) -> float:
        """Return what a run takes that builds its environment, beyond the same run afterwards."""
        first = self.run(environment)
        return first - statistics.median(self.run(environment) for _ in range(ROUNDS))

    def _by_hand(self, dockerfile: str) -> float:
        begun = time.perf_counter()
        name = f"scriptrun-bench:{_mark()}"
        options = ("--quiet", "--no-cache", "--network", "host", "--tag", name)
        docker_engine.ask("build", *options, "-", data=dockerfile.encode())
        took = (time.perf_counter() - begun) * 1000
        self._by_hands.append(name)
        return took

    def remove(self) -> None:
        """Remove the images that were built by hand."""
        if self._by_hands:
            docker_engine.ask("image", "rm", *self._by_hands)


def _mark() -> str:
    return secrets.token_hex(8)
