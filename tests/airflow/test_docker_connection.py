"""A scriptrun_docker connection, however it was written down, is what its form and its hook say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider.scriptrun.errors import ConfigurationError
from airflow_provider.scriptrun.get_provider_info import get_provider_info
from airflow_provider.scriptrun.hooks.docker import ScriptRunDockerHook
from airflow_provider.scriptrun.hooks.scriptrun import ScriptRunHook
from airflow_provider.scriptrun.hooks.surroundings import AirflowSurroundings
from airflow_provider.scriptrun.targets import registry
from airflow_provider.scriptrun.targets.docker.settings import (
    DOCKER_FIELDS,
    OWN_SOCKET,
    DockerConnection,
    Registry,
    Tls,
)
from tests.runs.fakes import FakeTarget


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AirflowSurroundings:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{tmp_path}/not_there.db")
    return AirflowSurroundings(tmp_path)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    def define(name: str = "engine", kind: str = "scriptrun_docker", **fields: Any) -> str:
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps({"conn_type": kind, **fields}))
        return name

    return define


def form() -> dict[str, Any]:
    (found,) = (one for one in get_provider_info()["connection-types"] if one["connection-type"] == "scriptrun_docker")
    return found


def test_the_form_has_every_field_that_is_read() -> None:
    assert set(form()["conn-fields"]) == set(DOCKER_FIELDS)
    placeholders = form()["ui-field-behaviour"]["placeholders"]
    assert set(placeholders) <= {*DOCKER_FIELDS, "host", "port", "login", "password"}


def test_the_page_explains_every_field() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "targets" / "docker.md").read_text()
    assert [name for name in DOCKER_FIELDS if f"`extra.{name}`" not in page] == []


@pytest.mark.parametrize("host", [OWN_SOCKET, "tcp://gpu1:2376", "tcp://[::1]:2375"])
def test_an_engines_address_comes_through_airflow_as_it_was_written(
    surroundings: AirflowSurroundings, connect: Any, host: str
) -> None:
    assert DockerConnection.read(surroundings.connection(connect(host=host))).url == host


def test_an_ssh_connection_is_named_by_its_id(surroundings: AirflowSurroundings, connect: Any) -> None:
    assert DockerConnection.read(surroundings.connection(connect(host="ssh://training_vm"))).ssh_connection == (
        "training_vm"
    )


def test_a_connection_written_as_an_address_names_host_and_port(
    surroundings: AirflowSurroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ENGINE", "scriptrun-docker://gpu1:2376/?tls_ca_file=%2Fetc%2Fca.pem&max_runs=2")
    found = DockerConnection.read(surroundings.connection("engine"))
    assert (found.url, found.tls, found.max_runs) == ("tcp://gpu1:2376", Tls("/etc/ca.pem"), 2)


def test_an_empty_form_is_the_workers_own_engine(surroundings: AirflowSurroundings, connect: Any) -> None:
    extra: dict[str, Any] = dict.fromkeys(form()["conn-fields"])
    assert DockerConnection.read(surroundings.connection(connect(extra=extra))) == DockerConnection("engine")
    extra.update(tls_verify=False, max_runs=0, environment_variables={}, proxies={})
    assert DockerConnection.read(surroundings.connection(connect(extra=extra))) == DockerConnection("engine")


def test_an_airflow_docker_connection_gives_the_registrys_login(
    surroundings: AirflowSurroundings, connect: Any
) -> None:
    connect("login", "docker", host="https://registry.example.com", port=5000, login="robot", password="hunter2")
    found = DockerConnection.read(surroundings.connection(connect(extra={"registry_connection": "login"})))
    assert found.whole_registry(surroundings.connection) == Registry("registry.example.com:5000", "robot", "hunter2")
    with pytest.raises(ConfigurationError, match="registry_connection"):
        registry.open_target("login", surroundings)


def test_the_hooks_are_made_from_the_id_alone() -> None:
    assert ScriptRunDockerHook("engine").scriptrun_conn_id == "engine"
    assert isinstance(ScriptRunDockerHook(), ScriptRunHook)


def test_the_test_button_asks_the_target_that_a_run_would_use(
    surroundings: AirflowSurroundings, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_OPENERS", dict(registry._OPENERS))
    opened = []

    def opener(connection: Any, *_: Any) -> FakeTarget:
        opened.append(DockerConnection.read(connection))
        return FakeTarget(connection.id)

    registry.register("scriptrun_docker", opener)
    passed, words = ScriptRunDockerHook(connect(host="tcp://gpu1")).test_connection()
    assert passed, words
    assert opened[0].url == "tcp://gpu1:2375"
    passed, words = ScriptRunDockerHook(connect(host="http://gpu1")).test_connection()
    assert not passed
    assert "no Docker engine's address" in words
