"""What happens to containers and engines happens to runs: each ends as it should, or goes on, and nothing is left."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import ContainerError, NotFound

from airflow_provider.scriptrun.errors import TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.hooks.surroundings import AirflowSurroundings
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets.contract import Attempt, ComputeTarget, Limits
from airflow_provider.scriptrun.targets.docker import containers, remains
from airflow_provider.scriptrun.targets.docker.environments import Environments
from airflow_provider.scriptrun.targets.docker.keeper import PROGRAM
from airflow_provider.scriptrun.targets.registry import open_target
from tests.conformance.client import DEFAULT_ENVIRONMENT, Client
from tests.docker.leaks import KIND_LABEL, LABEL, containers_of, until_none

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow]

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
MEMORY_BYTES = 64 * 1024 * 1024
GREEDY = "held = []\nprint('up', flush=True)\nwhile True: held.append(bytearray(b'x') * 1_000_000)"


class Engine:
    """The engine as a person at its machine sees it."""

    def __init__(self, url: str, store: str) -> None:
        self.client, self._store = docker.DockerClient(base_url=url), store

    def container(self, kind: str) -> Any:
        """Return the one container of a kind."""
        (found,) = containers_of(self.client, self._store, kind)
        return self.client.containers.get(found)

    def until_none(self, kind: str) -> None:
        """Return once the engine has removed all containers of a kind; their processes have ended."""
        until_none(lambda: containers_of(self.client, self._store, kind))


@pytest.fixture
def machine(engine: str, store: str) -> Iterator[Engine]:
    machine = Engine(engine, store)
    yield machine
    machine.client.close()


@pytest.fixture
def connect(
    store: str, base_image_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., ComputeTarget]:
    """Open a target on the engine, by a connection with these extras."""

    def connect(host: str | None = None, **extra: Any) -> ComputeTarget:
        document = {"conn_type": "scriptrun_docker", "host": host}
        document["extra"] = {"volume": store, "base_image": base_image_name, "network": "none", **extra}
        monkeypatch.setenv("AIRFLOW_CONN_ENGINE", json.dumps(document))
        surroundings = AirflowSurroundings()
        surroundings.settings = replace(surroundings.settings, cache_directory=str(tmp_path / "cache"))
        return open_target("engine", surroundings)

    return connect


@pytest.fixture
def client(connect: Callable[..., ComputeTarget]) -> Iterator[Client]:
    with connect() as target:
        client = Client(target)
        yield client
        client.cancel_all()


def test_a_container_that_a_person_removes_is_a_lost_run(client: Client, machine: Engine) -> None:
    started = client.start(SLEEPER)
    client.wait_for(started.run_id, "up")
    machine.container("run").remove(force=True)
    end = client.follow(started.run_id).end
    assert (end.status, end.reason) == (Status.FAILED, Reason.LOST)


def test_a_container_that_is_stopped_is_a_lost_run_as_nothing_tells_a_person_from_an_engine_that_goes(
    client: Client, machine: Engine
) -> None:
    started = client.start(SLEEPER)
    client.wait_for(started.run_id, "up")
    machine.container("run").stop(timeout=60)
    end = client.follow(started.run_id).end
    assert (end.status, end.reason) == (Status.FAILED, Reason.LOST)
    assert end.message is not None
    assert "Its container was stopped: with docker stop, or with the engine" in end.message


@pytest.mark.parametrize("kind", ["run", "build", "keeper"])
def test_a_container_that_a_dead_worker_made_and_never_started_goes_once_it_is_old(
    kind: str, client: Client, machine: Engine, store: str, base_image_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {LABEL: store, KIND_LABEL: kind}
    left = machine.client.containers.create(base_image_name, ["true"], labels=labels)
    client.finish("")
    left.reload()  # another worker may be about to start it
    monkeypatch.setattr(remains, "ABANDONED_S", -60.0)
    client.finish("")
    with pytest.raises(NotFound):
        left.reload()


def test_a_keeper_that_a_person_removes_comes_back_and_the_run_goes_on(client: Client, machine: Engine) -> None:
    started = client.start("import sys, time\nfor number in range(30): print(number, flush=True); time.sleep(0.1)")
    client.wait_for(started.run_id, "1\n")
    machine.container("keeper").remove(force=True)
    followed = client.follow(started.run_id)
    assert followed.end.status is Status.COMPLETED
    assert followed.log.split() == [b"%d" % number for number in range(30)]


def test_a_run_that_needs_more_memory_than_it_may_have_says_so(client: Client) -> None:
    limits = {"memory": MEMORY_BYTES, "memory_swap": MEMORY_BYTES}
    end = client.follow(client.start(GREEDY, container=limits).run_id).end
    assert (end.status, end.reason) == (Status.FAILED, Reason.OUT_OF_MEMORY)


def test_a_root_file_system_that_cannot_be_written_to_is_no_hindrance(client: Client) -> None:
    script = """
open("outputs/model", "w").close()
try:
    open("/usr/changed", "w")
except OSError as error:
    print(error.strerror)
"""
    followed = client.finish(script, container={"read_only": True})
    assert (followed.end.status, followed.log) == (Status.COMPLETED, b"Read-only file system\n")


def test_a_script_runs_as_the_user_that_its_options_name_and_can_write_what_is_its_own(client: Client) -> None:
    script = """
import os
for name in ("outputs/model", "data"):
    open(name, "w").close()
open(os.environ["SCRIPTRUN_MESSAGES"], "a").close()
open(os.environ["SCRIPTRUN_CHECKPOINTS"] + "/state", "w").close()
print(os.getuid(), os.getgid(), os.path.exists(os.environ["SCRIPTRUN_CONTEXT"]))
try:
    os.listdir("/scriptrun/blobs")
except PermissionError:
    print("kept from what is others'")
"""
    followed = client.finish(script, container={"user": "1234:4321"})
    assert followed.log.decode().splitlines() == ["1234 4321 True", "kept from what is others'"]


def test_an_image_with_an_entry_point_runs_the_script_all_the_same(client: Client, image: Callable[[str], str]) -> None:
    environment = {**DEFAULT_ENVIRONMENT, "image": {"reference": image("failing-entrypoint")}}
    assert client.finish("print('here')", environment=environment).log == b"here\n"


def test_an_image_without_a_shell_runs_the_script_all_the_same(client: Client, image: Callable[[str], str]) -> None:
    environment = {**DEFAULT_ENVIRONMENT, "image": {"reference": image("no-shell")}}
    assert client.finish("print('here')", environment=environment).log == b"here\n"


@pytest.mark.parametrize("variant", ["no-python", "broken-python"])
def test_an_image_without_a_working_python_is_refused_and_no_container_is_left(
    variant: str, client: Client, machine: Engine, image: Callable[[str], str]
) -> None:
    environment = {**DEFAULT_ENVIRONMENT, "image": {"reference": image(variant)}}
    with pytest.raises(TargetRefusedError, match=r"Python 3\.8 or later"):
        client.start("print('never')", environment=environment)
    machine.until_none("run")


@pytest.mark.parametrize("variant", ["no-python", "broken-python"])
def test_a_base_image_without_a_working_python_is_named_by_a_check_and_no_container_is_left(
    variant: str, connect: Callable[..., ComputeTarget], machine: Engine, image: Callable[[str], str]
) -> None:
    with connect(base_image=image(variant)) as target, pytest.raises(TargetRefusedError) as caught:
        target.check()
    message = str(caught.value)
    assert f"No container of the image {image(variant)} starts on" in message
    assert "Python 3.8 or later: name another base_image or interpreter in the connection" in message
    machine.until_none("keeper")


def test_an_image_that_does_not_exist_is_named(client: Client) -> None:
    environment = {**DEFAULT_ENVIRONMENT, "image": {"reference": "localhost:1/no/such:image"}}
    with pytest.raises(TargetRefusedError, match=r"localhost:1/no/such:image cannot be fetched"):
        client.start("print('never')", environment=environment)


def test_a_file_that_was_damaged_in_the_volume_is_sent_again_for_the_next_try(
    client: Client, machine: Engine, store: str, base_image_name: str
) -> None:
    request, tree = client.request("print('whole')", lineage="damaged")
    client.target.send(tree)
    name = tree.blobs[0]
    path = f"/store/blobs/{name[:2]}/{name}"
    machine.client.containers.run(
        base_image_name, ["truncate", "--size", "3", path], volumes=[f"{store}:/store"], remove=True
    )
    first = client.follow(client.submit(request, tree).run_id).end
    assert (first.status, first.reason) == (Status.FAILED, Reason.SNAPSHOT)
    again = replace(request, run_id=f"{request.run_id}_2", attempt=Attempt(try_number=2))
    followed = client.follow(client.submit(again, tree).run_id)
    assert (followed.end.status, followed.log) == (Status.COMPLETED, b"whole\n")


def test_an_engine_that_is_not_there_is_unreachable(connect: Callable[..., ComputeTarget], tmp_path: Path) -> None:
    with connect(f"unix://{tmp_path}/no.sock") as target, pytest.raises(TargetUnreachableError, match="Is it running"):
        target.check()


def test_what_is_no_engine_is_named_so(connect: Callable[..., ComputeTarget], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with connect(f"unix://{tmp_path}/file") as target, pytest.raises(TargetUnreachableError, match="No Docker engine"):
        target.check()


def test_the_volume_is_put_in_order_by_who_answers_for_it(
    client: Client, machine: Engine, store: str, base_image_name: str
) -> None:
    """A run on a host does it when it ends; one in a container cannot."""
    client.finish("print('here')", limits=Limits(budget_age_s=86_400.0))
    waiting = ["sh", "-c", "until test -e /store/cleaned; do sleep 0.1; done"]
    machine.client.containers.run(
        base_image_name, ["timeout", "60", *waiting], volumes=[f"{store}:/store"], remove=True
    )


def test_a_keeper_leaves_though_a_session_waits_whose_other_end_is_gone(
    machine: Engine, store: str, base_image_name: str
) -> None:
    """As one does whose engine was killed and came back: nobody closes its input."""
    program = ["python3", "-I", "-c", PROGRAM, "/store", "engine", "5.0"]
    keeper = machine.client.containers.run(
        base_image_name, entrypoint=program, volumes=[f"{store}:/store"], labels={LABEL: store}, detach=True
    )
    keeper.exec_run(["sleep", "infinity"], detach=True)
    assert keeper.wait(timeout=60)["StatusCode"] == 0
    assert keeper.logs() == b"ready\n"


def test_a_keeper_that_cannot_use_its_volume_says_why(machine: Engine, store: str, base_image_name: str) -> None:
    program = ["python3", "-I", "-c", PROGRAM, "/proc", "engine", "1.0"]
    with pytest.raises(ContainerError):
        machine.client.containers.run(base_image_name, entrypoint=program, labels={LABEL: store}, stderr=False)
    (keeper,) = machine.client.containers.list(all=True, filters={"label": f"{LABEL}={store}"})
    assert keeper.logs(stderr=False).startswith(b"failed ")


def test_a_container_of_a_runs_name_that_nobody_lets_go_of_is_named(
    client: Client, machine: Engine, store: str, base_image_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "OCCUPIED_S", 1.0)
    request, tree = client.request("print('once')")
    name = f"{store}-{request.run_id}"
    held = machine.client.containers.run(
        base_image_name, entrypoint=["sleep", "600"], name=name, labels={LABEL: store}, detach=True
    )
    held.pause()
    try:
        with pytest.raises(TargetUnreachableError, match=rf"container {name} is taken on .* \(it is paused\)"):
            client.submit(request, tree)
    finally:
        held.remove(force=True)
    assert client.follow(client.submit(request, tree).run_id).log == b"once\n"


def test_a_run_whose_start_was_interrupted_is_not_being_prepared_any_more_though_its_worker_lives(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    request, tree = client.request("print('once')")
    with monkeypatch.context() as moment:
        moment.setattr(Environments, "ready", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.submit(request, tree)
    (status,) = client.target.status([request.run_id]).values()
    assert status.status is Status.NOT_STARTED
    assert client.follow(client.submit(request, tree).run_id).log == b"once\n"
