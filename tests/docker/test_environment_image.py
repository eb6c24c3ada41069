"""The image that an environment names is the one that its script runs in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider.scriptrun import Environment, Experiment, ScriptRunConfig, Workspace

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "main.py").write_text(
        "import getpass, os; print(os.environ.get('FLAVOUR'), getpass.getuser(), os.getuid())"
    )
    return folder


@pytest.fixture
def connection(name_engine: Callable[..., str]) -> str:
    return name_engine(network="none")


def run(source: Path, environment: Environment, connection: str, workspace: Path) -> str:
    config = ScriptRunConfig(source, script="main.py", environment=environment, compute_target=connection)
    run = Experiment(Workspace(str(workspace)), "images").submit(config)
    run.wait_for_completion()
    return Path(run.record["log"]["uri"]).read_text()


def test_a_script_runs_as_the_user_whom_its_image_names(
    source: Path, connection: str, image: Callable[[str], str], tmp_path: Path
) -> None:
    environment = Environment.from_docker_image("other", image("other-user"))
    environment.python.user_managed_dependencies = True
    flavour, _, number = run(source, environment, connection, tmp_path / "workspace").split()
    assert (flavour, number != "0") == ("None", True)
