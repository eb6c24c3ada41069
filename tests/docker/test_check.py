"""A check of an engine says what it is, what its registry says, and what keeps a run from it: on real ones."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from airflow_provider.scriptrun.errors import TargetUnreachableError
from airflow_provider.scriptrun.hooks.docker import ScriptRunDockerHook
from airflow_provider.scriptrun.hooks.surroundings import AirflowSurroundings
from airflow_provider.scriptrun.targets.docker.checking import ask_engine, judge_engine
from airflow_provider.scriptrun.targets.docker.engine_facts import EngineFacts
from airflow_provider.scriptrun.targets.docker.registry_answers import Answer, Obstacle
from airflow_provider.scriptrun.targets.docker.target import DockerTarget
from airflow_provider.scriptrun.targets.findings import Trouble
from airflow_provider.scriptrun.targets.registry import open_target
from tests.docker.engine import PrivateEngine
from tests.docker.registry import PASSWORD, USER, ImageRegistry

pytestmark = pytest.mark.needs("docker")

Hook = Callable[..., ScriptRunDockerHook]
WRONG = "wrong-pw-1234"


@pytest.fixture
def hook(store: str, engine: str, base_image_name: str, monkeypatch: pytest.MonkeyPatch) -> Hook:
    """Return the hook of a connection to the machine's engine, but for what is said."""

    def hook(host: str = engine, login: str | None = None, password: str | None = None, **extra: Any) -> Any:
        document = {"conn_type": "scriptrun_docker", "host": host, "login": login, "password": password}
        extra = {"volume": store, "base_image": base_image_name, **extra}
        monkeypatch.setenv("AIRFLOW_CONN_ENGINE", json.dumps({**document, "extra": extra}))
        return ScriptRunDockerHook("engine")

    return hook


@pytest.fixture
def info(engine: str) -> dict[str, Any]:
    client = docker.DockerClient(base_url=engine)
    found: dict[str, Any] = {**client.info(), **client.version()}
    client.close()
    return found


def asked() -> EngineFacts:
    """Return what the engine of the hook's connection says, without a container."""
    with open_target("engine", AirflowSurroundings()) as target:
        assert isinstance(target, DockerTarget)
        return ask_engine(target)


@pytest.mark.slow
def test_a_check_says_what_the_engine_says_and_what_the_keeper_sees(
    hook: Hook, info: dict[str, Any], base_image_name: str
) -> None:
    facts = hook().check()
    found = facts.engine
    assert found is not None
    assert (found.version, found.api_version) == (info["ServerVersion"], info["ApiVersion"])
    assert (found.os, found.machine) == (info["OperatingSystem"], info["Architecture"])
    assert (found.cpus, found.memory_bytes) == (info["NCPU"], info["MemTotal"])
    assert (found.storage_driver, found.data_folder) == (info["Driver"], info["DockerRootDir"])
    assert set(found.runtimes) == set(info["Runtimes"])
    assert (found.live_restore, found.is_rootless) == (info["LiveRestoreEnabled"], False)
    assert (found.base_image, found.base_image_was_there, found.registry) == (base_image_name, True, None)
    assert facts.details is not None
    if info["Name"] == socket.gethostname():  # the volume is on a disk that we see
        disk = os.statvfs(info["DockerRootDir"])
        assert facts.details.disk.bytes == disk.f_blocks * disk.f_frsize
    works, message = hook().test_connection()
    assert works
    assert f"{info['Name']}: Docker {info['ServerVersion']} (API {info['ApiVersion']}) on" in message
    assert f"base image {base_image_name} is there." in message
    assert "\n" not in message


@pytest.mark.needs("image registry")
@pytest.mark.parametrize(
    ("user", "password", "answer", "words"),
    [
        (USER, PASSWORD, Answer.YES, f"lets the user {USER} in."),
        (USER, WRONG, Answer.NO, f"does not let the user {USER} in (login attempt to"),
        (None, None, Answer.NO, "lets nobody in without a login"),
    ],
)
def test_what_the_registry_says_to_our_login_is_told_and_warned_of(
    hook: Hook, image_registry: ImageRegistry, user: str | None, password: str | None, answer: Answer, words: str
) -> None:
    button = hook(login=user, password=password, registry=image_registry.address)
    works, message = button.test_connection()
    assert works, "a run whose image is there can start"
    assert f"egistry {image_registry.address} {words}" in message
    found = asked()
    assert found.registry is not None
    assert found.registry.admits.answer is answer
    warnings = [warning.trouble for warning in judge_engine(found)]
    assert (Trouble.REGISTRY in warnings) == (answer is not Answer.YES)
    assert not any(secret in f"{message} {found!r}" for secret in (PASSWORD, WRONG))


def test_a_registry_that_is_away_has_not_said_anything(hook: Hook) -> None:
    with socket.socket() as taken:  # nobody listens there
        taken.bind(("127.0.0.1", 0))
        hook(registry=f"127.0.0.1:{taken.getsockname()[1]}")
        found = asked()
    assert found.registry is not None
    assert (found.registry.admits.answer, found.registry.admits.obstacle) == (Answer.UNKNOWN, Obstacle.UNREACHABLE)
    (warning,) = (one for one in judge_engine(found) if one.trouble is Trouble.REGISTRY)
    assert "did not say whether it lets us in" in str(warning)


@pytest.mark.needs("image registry")
def test_without_its_base_image_no_run_could_start(hook: Hook, image_registry: ImageRegistry) -> None:
    missing = f"{image_registry.address}/team/no-such-image:1"
    works, message = hook(
        login=USER, password=PASSWORD, registry=image_registry.address, base_image=missing
    ).test_connection()
    assert not works
    assert message.startswith(f"The image {missing} cannot be fetched. ")
    works, message = hook(base_image=missing).test_connection()
    assert not works
    assert "no basic auth credentials" in message
    assert "have a login to this registry" in message


@pytest.fixture
def mute(tmp_path: Path) -> Iterator[str]:
    """A socket behind which somebody hangs up on everyone."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "mute.sock"))
        server.listen()

        def hang_up() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=hang_up)
        thread.start()
        yield f"unix://{tmp_path}/mute.sock"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_what_keeps_everybody_from_the_engine_is_said(hook: Hook, mute: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for url in (f"unix://{tmp_path}/nothing.sock", f"unix://{tmp_path}/file", mute):
        works, message = hook(url).test_connection()
        assert not works
        assert url.removeprefix("unix://") in message, message
    with pytest.raises(TargetUnreachableError, match="No Docker engine answers"):
        hook(f"unix://{tmp_path}/nothing.sock").check()


@pytest.mark.slow
@pytest.mark.needs("private engine")
def test_an_engine_that_keeps_containers_over_its_restart_says_so(hook: Hook) -> None:
    with PrivateEngine(live_restore=True) as own:
        hook(own.url)
        found = asked()
    assert (found.live_restore, found.base_image_was_there) == (True, False)
