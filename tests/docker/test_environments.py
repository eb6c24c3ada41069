"""Environments of packages are images of an engine: built once, whoever wants them, and whoever dies."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest

from airflow_provider.scriptrun import Environment, Experiment, ScriptRunConfig, Workspace
from airflow_provider.scriptrun.runs.run import Run
from tests.docker import index
from tests.docker.leaks import containers_of

pytestmark = [pytest.mark.needs("docker", "network"), pytest.mark.slow]

AT_ONCE = 20
#: A run's session, its watch, its container's input, and what Docker's client keeps.
CONNECTIONS = 5
PATIENCE_S = 30.0
PACKAGE = "iniconfig"
Submit = Callable[..., Run]


@pytest.fixture
def submit(name_engine: Callable[..., str], tmp_path: Path) -> Submit:
    """Run a script that imports the package, and wait for its end."""
    engine = name_engine(network=index.NETWORK)
    source = tmp_path / "code"
    source.mkdir()
    (source / "main.py").write_text("import sys; print(sys.prefix)")
    environment = Environment.from_pip_requirements("packages", requirements(tmp_path, PACKAGE))
    experiment = Experiment(Workspace(str(tmp_path / "workspace")), "images")

    def submit(one: Environment | None = environment) -> Run:
        run = experiment.submit(ScriptRunConfig(source, script="main.py", environment=one, compute_target=engine))
        run.wait_for_completion(raise_on_error=False)
        return run

    return submit


def requirements(folder: Path, *lines: str) -> Path:
    path = folder / "requirements.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def images_of(docker_client: docker.DockerClient, store: str) -> list[str]:
    found = docker_client.images.list(filters={"label": f"scriptrun.volume={store}"})
    return [tag for image in found for tag in image.tags]


def sockets() -> int:
    """How many sockets this process has open."""
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
    return found


def test_twenty_runs_at_once_have_one_build_and_few_connections_none_of_which_stays(
    submit: Submit, docker_client: docker.DockerClient, store: str
) -> None:
    submit(None).close()
    before = most = sockets()  # with what the first run of a process opens
    with ThreadPoolExecutor(AT_ONCE) as pool:
        submitted = [pool.submit(submit) for _ in range(AT_ONCE)]
        while not all(one.done() for one in submitted):
            most = max(most, sockets())
            time.sleep(0.02)
    runs = [one.result() for one in submitted]
    assert {run.record["status"] for run in runs} == {"Completed"}
    assert sorted(run.record["environment"]["reused"] for run in runs) == [False] + [True] * (AT_ONCE - 1)
    assert len({run.record["environment"]["id"] for run in runs}) == 1
    assert most - before <= AT_ONCE * CONNECTIONS
    for run in runs:
        run.close()
    deadline = time.monotonic() + PATIENCE_S
    while sockets() > before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(images_of(docker_client, store)) == 1


def test_a_build_that_was_made_and_never_started_is_made_anew(
    submit: Submit, docker_client: docker.DockerClient, store: str, base_image_name: str
) -> None:
    submit()
    (tag,) = images_of(docker_client, store)
    docker_client.images.remove(tag, force=True)
    name = f"{store}-build-{tag.partition(':')[2][:24]}"
    labels = {"scriptrun.volume": store, "scriptrun.run": "environment-nobody"}
    docker_client.containers.create(base_image_name, "true", name=name, labels=labels)
    assert submit().record["status"] == "Completed"


def test_an_environment_that_cannot_be_made_ends_the_run_and_leaves_nothing_but_its_log(
    submit: Submit, docker_client: docker.DockerClient, store: str, tmp_path: Path
) -> None:
    wrong = Environment.from_pip_requirements("wrong", requirements(tmp_path, "no-such-package-of-anybody==1.0"))
    record = submit(wrong).record
    assert (record["status"], record["reason"]) == ("Failed", "environment")
    assert "no-such-package-of-anybody" in record["message"]
    assert containers_of(docker_client, store, "build") == []
    assert images_of(docker_client, store) == []
