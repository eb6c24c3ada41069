"""A private registry: where base images come from, images with a login of their own, and what engines share."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from airflow_provider.scriptrun import (
    CondaDependencies,
    ContainerRegistry,
    Environment,
    Experiment,
    ScriptRunConfig,
    Workspace,
)
from airflow_provider.scriptrun.hooks.docker import ScriptRunDockerHook
from tests.docker.engine import PrivateEngine
from tests.docker.index import NETWORK
from tests.docker.leaks import Leaks
from tests.docker.package_index import PackageIndex
from tests.docker.registry import PASSWORD, USER, ImageRegistry, Lines

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.needs("docker", "image registry")]

SCRIPT = """
import os
from importlib.util import find_spec
print(os.environ.get("SALT"), os.path.exists("/.dockerenv"), find_spec("alpha") and "alpha")
"""


@pytest.fixture(scope="module")
def private(image_registry: ImageRegistry, engine: str, base_image_name: str) -> Iterator[str]:
    """The name of the base image in the registry; the engine has it under that name after a test, and not before."""
    name, client = f"{image_registry.address}/team/base:1", docker.DockerClient(base_url=engine)
    client.images.get(base_image_name).tag(name)
    said = client.images.push(name, auth_config={"username": USER, "password": PASSWORD})
    assert '"error"' not in said, said
    client.images.remove(name)
    yield name
    client.close()


@pytest.fixture
def forgotten(private: str, engine: str) -> Iterator[str]:
    """The same, and the engine forgets it again."""
    yield private
    client = docker.DockerClient(base_url=engine)
    client.images.remove(private, force=True)
    client.close()


def connect(monkeypatch: pytest.MonkeyPatch, name: str, host: str, login: bool = True, **extra: Any) -> None:
    """Define a connection to an engine, with the registry's login."""
    document = {"conn_type": "scriptrun_docker", "host": host, "extra": {"network": "none", **extra}}
    if login:
        document.update({"login": USER, "password": PASSWORD})
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(document))


def log_of(tmp_path: Path, environment: Environment, target: str) -> str:
    """Run a script there that says what its image is; return what it said."""
    source = tmp_path / "code"
    source.mkdir(exist_ok=True)
    (source / "main.py").write_text(SCRIPT)
    config = ScriptRunConfig(source, script="main.py", environment=environment, compute_target=target)
    run = Experiment(Workspace(str(tmp_path / "workspace")), "registry").submit(config)
    run.wait_for_completion()
    return Path(run.record["log"]["uri"]).read_text()


@pytest.mark.parametrize("whose", ["its own login", "an Airflow docker connection"])
def test_a_base_image_that_only_the_registry_has_is_fetched_by_the_first_check(
    whose: str, image_registry: ImageRegistry, engine: str, forgotten: str, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"volume": store, "base_image": forgotten}
    if whose == "its own login":
        connect(monkeypatch, "engine", engine, **extra, registry=image_registry.address)
    else:
        host, _, port = image_registry.address.rpartition(":")
        login = {"conn_type": "docker", "host": host, "port": int(port), "login": USER, "password": PASSWORD}
        monkeypatch.setenv("AIRFLOW_CONN_IMAGES", json.dumps(login))
        connect(monkeypatch, "engine", engine, login=False, **extra, registry_connection="images")
    for there in ("was fetched", "is there"):
        works, message = ScriptRunDockerHook("engine").test_connection()
        assert works, message
        assert f"base image {forgotten} {there}." in message
        assert PASSWORD not in message


def test_an_image_with_a_login_of_its_own_runs_where_the_connection_has_none(
    image_registry: ImageRegistry, engine: str, base_image_name: str, forgotten: str, store: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    connect(monkeypatch, "engine", engine, login=False, volume=store, base_image=base_image_name)
    monkeypatch.setenv("AIRFLOW_CONN_IMAGES", json.dumps({"conn_type": "docker", "password": PASSWORD}))
    own = ContainerRegistry(address=image_registry.address, username=USER, password="conn:images/password")
    with Lines() as lines:
        assert "True" in log_of(tmp_path, Environment.from_docker_image("mine", "team/base:1", own), "engine")
    kept = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(PASSWORD in text for text in (*kept, lines.text))


@pytest.mark.needs("private engine")
@pytest.mark.parametrize("kind", ["image", "environment"])
def test_what_one_engine_has_built_another_one_fetches(
    kind: str, image_registry: ImageRegistry, engine: str, base_image_name: str, private: str, store: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    del private  # its layers are in the registry, and travel once
    salt = secrets.token_hex(8)
    if kind == "image":
        environment = Environment.from_dockerfile("built", f"FROM {base_image_name}\nENV SALT={salt}\n")
    else:
        salt, environment = "alpha", Environment("alpha")
        environment.python.conda_dependencies = CondaDependencies.create(pip_packages=["alpha"])
    with PackageIndex(tmp_path / "index", {"alpha": "1.0"}) as index, PrivateEngine(load=[base_image_name]) as other:
        extra = {"volume": store, "base_image": base_image_name, "registry": image_registry.address}
        extra |= {"network": NETWORK, "index_url": index.url}
        connect(monkeypatch, "engine", engine, **extra)
        connect(monkeypatch, "other", other.url, **extra)
        with Lines() as lines:
            assert salt in log_of(tmp_path, environment, "engine")
        assert ("ENV SALT=" in lines.text) == (kind == "image"), "the build's own lines"
        assert "building" in lines.text
        with Lines() as lines:
            assert salt in log_of(tmp_path, environment, "other")
        assert "building" not in lines.text
        assert len(index.wheels) == (kind == "environment")
        assert f"fetching the image {image_registry.address}/{store}-{kind}:" in lines.text
        images = Leaks(other.url)
        assert [name for name in images.found(store).images if image_registry.address in name] == []
        images.close()
    assert len(image_registry.tags(f"{store}-{kind}")) == 1
