"""An image that was made for runs goes when nobody has wanted it for long, and never under a run that is in it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from airflow_provider.scriptrun import CondaDependencies, DockerConfiguration, Environment
from airflow_provider.scriptrun.runs.run import Run
from airflow_provider.scriptrun.targets.docker import images
from tests.airflow.project import until
from tests.docker import index
from tests.docker.leaks import LABEL
from tests.docker.package_index import PackageIndex
from tests.ssh.worker import Worker

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow]

#: Waits to be let go on where an argument names a FIFO.
SCRIPT = "import sys\nif sys.argv[1:]: open(sys.argv[1]).read()\n"


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[PackageIndex]:
    with PackageIndex(tmp_path / "index", {"alpha": "1.0", "beta": "1.0", "gamma": "1.0"}) as packages:
        yield packages


class Shelf:
    """The images that were made for runs of a volume."""

    def __init__(self, client: docker.DockerClient, store: str, base: str, worker: Worker) -> None:
        self._client, self._store, self._base, self._worker = client, store, base, worker

    def submit(self, package: str, *arguments: str, folder: Path | None = None, refreshes: bool = False) -> Run:
        """Start a script in an environment with a package, and a folder of this machine as ``/gates``."""
        environment = Environment(package)
        environment.python.conda_dependencies = CondaDependencies.create(pip_packages=[package])
        shared = [] if folder is None else ["-v", f"{folder}:/gates"]
        return self._worker.submit(
            {"main.py": SCRIPT}, environment=environment, arguments=arguments,
            docker_runtime_config=DockerConfiguration(arguments=shared), refresh_environment=refreshes,
        )  # fmt: skip

    def finish(self, run: Run) -> None:
        """See a run, and its container, to the end."""
        run.wait_for_completion()
        labels = [f"{LABEL}={self._store}", "scriptrun.kind=run"]
        until(lambda: not self._client.api.containers(all=True, filters={"label": labels}), "the container's end")

    def age(self) -> None:
        """Let all images be of two days ago."""
        command = ["sh", "-c", "touch -d '2 days ago' /volume/images/*"]
        self._client.containers.run(self._base, command, volumes={self._store: {"bind": "/volume"}}, remove=True)

    def images(self) -> set[str]:
        """Return the ids of those that are there, under a name or not."""
        mark = f"{LABEL}={self._store}"
        return {image.id for image in self._client.images.list(filters={"label": [mark, "scriptrun.kind=environment"]})}


@pytest.fixture
def shelf(
    engine: str, store: str, docker_client: docker.DockerClient, base_image_name: str, packages: PackageIndex,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> Shelf:  # fmt: skip
    monkeypatch.setenv("AIRFLOW__SCRIPTRUN__ENVIRONMENT_MAX_AGE_DAYS", "1")
    worker = Worker(tmp_path, monkeypatch)
    extra = {"volume": store, "base_image": base_image_name, "network": index.NETWORK, "index_url": packages.url}
    worker.connect({"conn_type": "scriptrun_docker", "host": engine, "extra": extra})
    return Shelf(docker_client, store, base_image_name, worker)


@contextlib.contextmanager
def held(shelf: Shelf, package: str, folder: Path) -> Iterator[Run]:
    """Start a script that waits, and let it go on behind the block."""
    gates = folder / "gates"
    gates.mkdir()
    subprocess.run(["mkfifo", gates / "gate"], check=True)
    run = shelf.submit(package, "/gates/gate", folder=gates)
    try:
        yield run
    finally:
        subprocess.run(["timeout", "60", "sh", "-c", ': > "$0"', gates / "gate"], check=True)


def test_an_image_of_packages_that_is_old_goes_once_no_run_is_in_it(shelf: Shelf, tmp_path: Path) -> None:
    with held(shelf, "alpha", tmp_path) as alpha:
        of_alpha = shelf.images()
        shelf.age()
        beta = shelf.submit("beta")
        assert of_alpha < shelf.images()
    beta.wait_for_completion()
    shelf.finish(alpha)
    before = shelf.images()
    shelf.age()
    gamma = shelf.submit("gamma")
    assert len(shelf.images()) == 1
    assert not shelf.images() & before
    shelf.finish(gamma)


def test_an_image_that_was_made_anew_under_a_run_goes_once_that_has_ended(
    shelf: Shelf, packages: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "UNNAMED_S", -1.0)
    with held(shelf, "alpha", tmp_path) as first:
        before = shelf.images()
        packages.offer("alpha", "2.0")
        again = shelf.submit("alpha", refreshes=True)
        assert before < shelf.images()
    shelf.finish(again)
    shelf.finish(first)
    shelf.finish(shelf.submit("beta"))
    assert not shelf.images() & before
    assert len(shelf.images()) == 2
