"""Engines, images and stores for every test that asks. Where there is no engine, the test is skipped with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest

from airflow_provider.scriptrun.targets.docker.settings import DEFAULT_BASE_IMAGE, DEFAULT_VOLUME
from scripts import base_image, docker_engine
from tests import components
from tests.docker import images
from tests.docker.engine import PrivateEngine
from tests.docker.leaks import Leaks, new_volume, own_prefix
from tests.docker.registry import ImageRegistry
from tests.docker.vm import DockerVm


@pytest.fixture(scope="session")
def engine() -> Iterator[str]:
    """The address of the machine's engine. When the session ends, nothing of the tests' volumes may be left there."""
    components.require("docker")
    leaks = Leaks(docker_engine.url())
    try:
        leaks.sweep()
        yield docker_engine.url()
        if left := leaks.found(own_prefix()):
            leaks.remove(left)
            pytest.fail(f"the tests left in the engine:\n{left}", pytrace=False)
    finally:
        leaks.close()


@pytest.fixture(scope="session")
def base_image_name(engine: str) -> str:
    """The reference of a Debian with Python."""
    return base_image.ensure(engine)


@pytest.fixture(scope="session")
def image(engine: str) -> Callable[[str], str]:
    """Return the reference of a variant of the base image; see ``tests.docker.images.VARIANTS``."""
    return images.ensure


@pytest.fixture
def store(engine: str) -> Iterator[str]:
    """A name for the volume of a target. All that carries its label goes when the test ends, its runs before that."""
    leaks, name = Leaks(engine), new_volume()
    try:
        yield name
        leaks.clear(name)
    finally:
        leaks.close()


@pytest.fixture
def docker_client(engine: str) -> Iterator[docker.DockerClient]:
    """Docker's own client of the machine's engine."""
    client = docker.DockerClient(base_url=engine)
    yield client
    client.close()


@pytest.fixture
def name_engine(store: str, base_image_name: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Make a connection to the machine's engine, with the test's own volume and the base image; return its name."""

    def name_engine(**extra: Any) -> str:
        document = {"volume": store, "base_image": base_image_name, **extra}
        monkeypatch.setenv("AIRFLOW_CONN_ENGINE", json.dumps({"conn_type": "scriptrun_docker", "extra": document}))
        return "engine"

    return name_engine


@pytest.fixture
def leaks(engine: str) -> Iterator[Leaks]:
    """What there is in the engine: ``leaks.found(store)``."""
    found = Leaks(engine)
    yield found
    found.close()


@pytest.fixture(scope="session")
def image_registry(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageRegistry]:
    """A registry that lets in one user. Other tests use it too: leave it running, with names of your own in it."""
    components.require("image registry")
    own = ImageRegistry(tmp_path_factory.mktemp("image-registry"))
    yield own
    own.remove()


@pytest.fixture
def private_engine(base_image_name: str) -> Iterator[PrivateEngine]:
    """An engine that no other test knows and that has the base image, to be frozen, killed and started anew."""
    components.require("private engine")
    with PrivateEngine(load=[base_image_name]) as own:
        yield own


@pytest.fixture(scope="session")
def docker_vm(base_image_name: str) -> Iterator[DockerVm]:
    """A machine over SSH with an engine that has the base image. Other tests use it too: leave it as you found it."""
    components.require("private engine")
    components.require("sshd")
    components.require("another user")
    with DockerVm(load=[base_image_name]) as machine:
        yield machine


@pytest.fixture
def ready_docker_vm(docker_vm: DockerVm, base_image_name: str) -> Iterator[DockerVm]:
    """The same, whose engine has the usual base image under its name; what a test's runs leave there is removed."""
    docker_engine.ask("tag", base_image_name, DEFAULT_BASE_IMAGE, at=docker_vm.engine.url)
    yield docker_vm
    leaks = Leaks(docker_vm.engine.url)
    leaks.remove(leaks.of(DEFAULT_VOLUME))
    leaks.close()


@pytest.fixture
def fresh_docker_vm(base_image_name: str) -> Iterator[DockerVm]:
    """A machine over SSH with an engine, that no other test knows."""
    components.require("private engine")
    components.require("sshd")
    components.require("another user")
    with DockerVm(load=[base_image_name]) as machine:
        yield machine
