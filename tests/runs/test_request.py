"""What a target is asked for, of what was configured."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from airflow_provider.scriptrun.config import ContainerRegistry, Environment
from airflow_provider.scriptrun.errors import (
    NotSupportedError,
)


def test_what_is_asked_is_what_was_configured(world):
    world.surroundings.connections = {}
    world.submit(
        arguments=["--lr", 0.1, "two words", "$HOME"],
        environment=Environment(name="e", environment_variables={"A": "1", "B": "1"}),
        environment_variables={"B": "2"},
        secret_variables={"TOKEN": "conn:hf/password"},
        max_run_duration_seconds=5,
        tags={"a": "1", "b": "1"},
    )
    request = world.target.request
    assert request.argv == ("python", "train.py", "--lr", "0.1", "two words", "$HOME")
    assert request.variables == {"A": "1", "B": "2"}
    assert request.secret_variables == {"TOKEN": "s3cret"}
    assert (request.limits.max_run_duration_s, request.limits.grace_s, request.limits.orphan_after_s) == (5, 2, 86400)
    assert request.context["tags"] == {"a": "1", "b": "1"}
    assert request.context["airflow"] == {"dag_id": "d"}


def test_a_command_is_items_or_the_text_of_a_shell(world):
    world.submit(script=None, command=["echo", "a b"])
    assert world.target.request.argv == ("echo", "a b")
    world.submit(script=None, command="echo $A | wc")
    assert world.target.request.argv == ("/bin/sh", "-c", "echo $A | wc")


def test_a_refresh_is_asked_for_in_the_plan(world):
    environment = Environment.from_pip_requirements("e", "requirements.txt")
    (world.folder / "requirements.txt").write_text("iniconfig\n")
    world.submit(environment=environment)
    assert world.target.request.environment["delivery"]["refresh"] is False
    world.submit(environment=environment, refresh=True)
    assert world.target.request.environment["delivery"]["refresh"] is True


def test_what_a_configuration_asks_of_its_container_is_in_the_request_and_a_plain_one_asks_nothing(world):
    world.target.target_type = "docker"
    world.submit(docker_runtime_config={"use_docker": True, "arguments": ["--memory", "1g"]})
    assert world.target.request.container == {"use": True, "memory": 1024**3}
    world.submit(docker_runtime_config={"shared_volumes": False}, run_id="r2")
    assert world.target.request.container == {}


def test_a_target_without_containers_is_not_asked_for_one(world):
    with pytest.raises(NotSupportedError, match="name an Airflow connection of type scriptrun_docker"):
        world.submit(docker_runtime_config={"use_docker": True})
    assert world.calls("start") == []


def test_a_targets_own_package_index_stands_in_for_the_settings(world):
    world.surroundings.settings = replace(world.surroundings.settings, index_url="https://everywhere/simple")
    environment = Environment(python={"conda_dependencies": {"pip_packages": ["six"]}})
    world.submit(environment=environment)
    assert world.target.request.environment["index"]["url"] == "https://everywhere/simple"
    world.target.index_url = "https://there/simple"
    world.submit(environment=environment, run_id="r2")
    assert world.target.request.environment["index"]["url"] == "https://there/simple"


def test_a_targets_own_authority_stands_in_for_the_settings(world):
    places = {}
    for where in ("everywhere", "there"):
        places[where] = world.folder / f"{where}.pem"
        places[where].write_text(f"-----BEGIN CERTIFICATE-----\n{where}\n")
    world.surroundings.settings = replace(world.surroundings.settings, ca_file=str(places["everywhere"]))
    environment = Environment(python={"conda_dependencies": {"pip_packages": ["six"]}})
    world.submit(environment=environment)
    assert world.target.request.environment["delivery"]["ca"] == places["everywhere"].read_text()
    world.target.ca_file = str(places["there"])
    world.submit(environment=environment, run_id="r2")
    assert world.target.request.environment["delivery"]["ca"] == places["there"].read_text()


def test_a_registrys_password_is_looked_up_and_travels_among_the_secrets(world):
    world.target.target_type = "docker"
    registry = ContainerRegistry(address="r.example.com", username="robot", password="conn:registry/password")
    run = world.submit(environment=Environment.from_docker_image("e", "base", registry))
    secret = world.target.request.environment["image"]["registry"]["secret"]
    assert world.target.request.secret_environment == {secret: "s3cret"}
    assert "s3cret" in world.surroundings.masked
    assert "s3cret" not in json.dumps(run.submission)
