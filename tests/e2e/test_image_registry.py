"""A private registry is all that an engine needs to have a base image from."""

from __future__ import annotations

import json

import docker
import pytest

from airflow_provider.scriptrun.hooks.docker import ScriptRunDockerHook
from tests.docker.registry import PASSWORD, USER, ImageRegistry

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.needs("docker", "image registry")]


def test_a_base_image_that_only_the_registry_has_is_fetched_by_the_first_check(
    image_registry: ImageRegistry, engine: str, base_image_name: str, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, client = f"{image_registry.address}/team/base:1", docker.DockerClient(base_url=engine)
    connection = {"conn_type": "scriptrun_docker", "host": engine, "login": USER, "password": PASSWORD}
    extra = {"volume": store, "base_image": name, "registry": image_registry.address}
    monkeypatch.setenv("AIRFLOW_CONN_ENGINE", json.dumps({**connection, "extra": extra}))
    try:
        client.images.get(base_image_name).tag(name)
        said = client.images.push(name, auth_config={"username": USER, "password": PASSWORD})
        assert '"error"' not in said, said
        client.images.remove(name)
        for there in ("was fetched", "is there"):
            works, message = ScriptRunDockerHook("engine").test_connection()
            assert works, message
            assert f"base image {name} {there}." in message
    finally:
        client.images.remove(name, force=True)
        client.close()
