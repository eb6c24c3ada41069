"""The machine's engine as benchmarks use it: a connection to a volume of their own, runs there, and environments."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from airflow_provider.scriptrun import Environment, Experiment, ScriptRunConfig
from airflow_provider.scriptrun.runs.run import Run
from scripts import base_image, docker_engine

CONNECTION = "bench_engine"
REQUIREMENTS = ("iniconfig", "packaging", "pluggy", "pygments")


@dataclass(frozen=True)
class Engine:
    """What runs start from, and where they are."""

    image: str
    volume: str


@contextlib.contextmanager
def at_engine() -> Iterator[Engine]:
    """Name a connection to the machine's engine; what was made of its volume is removed afterwards."""
    from tests.docker.leaks import Leaks

    engine = Engine(base_image.ensure(), f"scriptrun-bench-{secrets.token_hex(4)}")
    extra = {"base_image": engine.image, "volume": engine.volume, "network": "host"}
    os.environ[f"AIRFLOW_CONN_{CONNECTION.upper()}"] = json.dumps({"conn_type": "scriptrun_docker", "extra": extra})
    try:
        yield engine
    finally:
        leaks = Leaks(docker_engine.url())
        leaks.remove(leaks.found(engine.volume))
        leaks.close()


def new_packages(folder: Path) -> Environment:
    """Return an environment of the packages that nobody has built yet; its file is in ``folder``."""
    requirements = folder / f"requirements-{secrets.token_hex(4)}.txt"
    nobodys = f"{REQUIREMENTS[0]}>=0.0.{secrets.randbelow(10**9)}"
    requirements.write_text("\n".join((*REQUIREMENTS, nobodys)))
    return Environment.from_pip_requirements("packages", str(requirements))


def run(
    experiment: Experiment,
    script: Path,
    environment: Environment | None = None,
    arguments: Sequence[str] = (),
    exit_code: int = 0,
) -> tuple[Run, float]:
    """Return a run of a script that is over, and its milliseconds. Raises ``RuntimeError`` for another exit code."""
    config = ScriptRunConfig(
        str(script.parent),
        script=script.name,
        arguments=list(arguments),
        compute_target=CONNECTION,
        environment=environment,
    )
    begun = time.perf_counter()
    one = experiment.submit(config)
    one.wait_for_completion(raise_on_error=False)
    took = (time.perf_counter() - begun) * 1000
    if one.record["exit_code"] != exit_code:
        raise RuntimeError(f"{one.id} ended with {one.record['exit_code']}, not {exit_code}: {one.record['message']}")
    return one, took


def reuses(one: Run) -> bool:
    """Whether a run found its environment built, as its record says."""
    return bool(one.record["environment"]["reused"])
