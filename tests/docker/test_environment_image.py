"""The image that an environment names is the one that its script runs in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from airflow_provider.scriptrun import CondaDependencies, Environment, Experiment, ScriptRunConfig, Workspace
from tests.airflow.project import until
from tests.docker import index
from tests.docker.leaks import LABEL
from tests.docker.package_index import PackageIndex

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


@pytest.mark.parametrize(
    ("variant", "user"), [("other-user", "1000"), ("failing-entrypoint", "0"), ("no-shell", "0"), ("volume", "0")]
)
def test_packages_are_installed_on_an_image_whatever_it_is_for(
    variant: str, user: str, source: Path, name_engine: Callable[..., str], image: Callable[[str], str], tmp_path: Path,
    docker_client: docker.DockerClient, store: str,
) -> None:  # fmt: skip
    environment = Environment("alpha")
    environment.docker.base_image = image(variant)
    environment.python.conda_dependencies = CondaDependencies.create(pip_packages=["alpha"])
    (source / "main.py").write_text("import alpha, os; print(os.getuid())")
    began = time.time()
    with PackageIndex(tmp_path / "index", {"alpha": "1.0"}) as packages:
        connection = name_engine(network=index.NETWORK, index_url=packages.url)
        assert run(source, environment, connection, tmp_path / "workspace").split() == [user]
        assert packages.wheels == ["alpha-1.0-py3-none-any.whl"]
    volumes = volumes_at(docker_client, store, "/data", began)
    assert len(volumes) == (2 if variant == "volume" else 0), "of the build and of the run"
    until(lambda: not volumes & {volume.name for volume in docker_client.volumes.list()}, "the volumes' end")


def volumes_at(client: docker.DockerClient, store: str, path: str, since: float) -> set[str]:
    """Return the volumes that containers of ours have had there, which other tests' containers do as well."""
    events = list(client.events(since=since, until=time.time(), decode=True, filters={"type": ["container", "volume"]}))
    ours = {event["Actor"]["ID"] for event in events if event["Actor"]["Attributes"].get(LABEL) == store}
    mounted = [event["Actor"] for event in events if (event["Type"], event["Action"]) == ("volume", "mount")]
    return {
        volume["ID"]
        for volume in mounted
        if volume["Attributes"]["container"] in ours and volume["Attributes"]["destination"] == path
    }
