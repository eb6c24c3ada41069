"""What people are told to type leaves nothing of the provider in an engine."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from airflow_provider.scriptrun import Environment, Experiment, ScriptRunConfig, Workspace
from scripts.compose import CHECKOUT, Compose
from tests.airflow.project import until
from tests.docker.leaks import LABEL, Leaks

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow]


@pytest.fixture
def used_store(
    name_engine: Callable[..., str], store: str, engine: str, base_image_name: str, leaks: Leaks, tmp_path: Path,
    docker_client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch,
) -> str:  # fmt: skip
    """A volume with an image of a Dockerfile, and one with packages on top of it, in the engine of ``docker``."""
    monkeypatch.setenv("DOCKER_HOST", engine)
    (tmp_path / "code").mkdir()
    (tmp_path / "code/main.py").write_text("print('here')")
    (tmp_path / "requirements.txt").write_text("# nothing to fetch\n")
    environment = Environment.from_dockerfile(
        "both", f"FROM {base_image_name}\nRUN echo {store} > /flavour\n", pip_requirements=tmp_path / "requirements.txt"
    )
    config = ScriptRunConfig(
        tmp_path / "code", script="main.py", environment=environment, compute_target=name_engine(network="none")
    )
    run = Experiment(Workspace(str(tmp_path / "workspace")), "removed").submit(config)
    run.wait_for_completion()
    run.close()
    runs = {"label": [f"{LABEL}={store}", "scriptrun.kind=run"]}
    until(lambda: not docker_client.api.containers(all=True, filters=runs), "the end of the run's container")
    assert {name.partition(":")[0] for name in leaks.found(store).images} == {f"{store}/environment", f"{store}/image"}
    return store


def test_taking_the_deployment_down_with_its_volumes_removes_what_its_runs_have_made(
    used_store: str, leaks: Leaks, tmp_path: Path
) -> None:
    (tmp_path / "env").write_text(f"RUN_VOLUME='{used_store}'\n")
    Compose(tmp_path / "env").remove_runs()
    assert not leaks.found(used_store)


def test_what_the_documentation_says_to_type_removes_everything(used_store: str, leaks: Leaks) -> None:
    page = (CHECKOUT / "docs/targets/docker.md").read_text()
    (commands,) = re.findall(
        r"```bash\n(.*docker volume rm scriptrun\n)", page.partition("To remove everything")[2], re.S
    )
    for name in ("volume=scriptrun", "reference=scriptrun", "rm scriptrun"):
        assert name in commands
        commands = commands.replace(name, name.replace("scriptrun", used_store))
    subprocess.run(["sh", "-euc", commands], check=True, env=os.environ)
    assert not leaks.found(used_store)
