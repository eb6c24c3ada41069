"""No space on the disk of an engine, in each phase: said by name, nothing left, and it works once there is some."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from airflow_provider.scriptrun.environments.build_context import BuildContext
from airflow_provider.scriptrun.errors import TargetRefusedError
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from tests import components
from tests.conformance.client import DEFAULT_ENVIRONMENT, Client, from_pip
from tests.docker import index
from tests.docker.disk import MEGABYTE, Disk, containers, images
from tests.docker.engine import PrivateEngine
from tests.docker.leaks import Leaks, new_volume, until_none
from tests.docker.registry import ImageRegistry, small_image
from tests.ssh.worker import Worker

pytestmark = [pytest.mark.needs("private engine", "tmpfs"), pytest.mark.slow, pytest.mark.xdist_group("full_engine")]

#: Room for the base image, twice while it is loaded.
SIZE_BYTES = 480 * MEGABYTE


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    return Worker(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def own(base_image_name: str) -> Iterator[PrivateEngine]:
    """An engine with a small disk."""
    components.require("private engine")
    components.require("tmpfs")
    with PrivateEngine(load=[base_image_name], disk_bytes=SIZE_BYTES) as own:
        yield own


@pytest.fixture
def disk(own: PrivateEngine) -> Iterator[Disk]:
    disk = Disk(own.data)
    yield disk
    disk.clear()


@pytest.fixture
def client(own: PrivateEngine, disk: Disk, worker: Worker, base_image_name: str) -> Iterator[Client]:
    volume = new_volume()
    extra = {"volume": volume, "base_image": base_image_name, "network": index.NETWORK}
    with worker.client({"conn_type": "scriptrun_docker", "host": own.url, "extra": extra}) as client:
        yield client
        disk.clear()
    leaks = Leaks(own.url)
    leaks.clear(volume)
    leaks.close()


def settled(own: PrivateEngine) -> list[str]:
    """Return the images of the engine once no container of a run or a build is left.

    The engine removes those a moment after they have ended.
    """
    until_none(lambda: containers(own))
    return images(own)


def grown_bytes(own: PrivateEngine) -> int:
    """Return how much larger the largest image is than the smallest."""
    client = own.client()
    try:
        sizes = [image.attrs["Size"] for image in client.images.list()]
    finally:
        client.close()
    return max(sizes) - min(sizes)


def refused(client: Client, *arguments: object) -> str:
    """Return the message with which a start is refused: it names the disk, and what to do."""
    with pytest.raises(TargetRefusedError) as caught:
        client.submit(*arguments)
    message = str(caught.value)
    assert "no space left" in message.lower()
    assert "docker system df says what takes it" in message
    return message


def test_the_first_use_of_an_engine_that_has_no_space(client: Client, own: PrivateEngine, disk: Disk) -> None:
    before = settled(own)
    request, tree = client.request("print('works')")
    disk.fill()
    refused(client, request, tree)
    assert settled(own) == before
    disk.clear()
    assert client.follow(client.submit(request, tree).run_id).log == b"works\n"


def test_a_snapshot_that_cannot_be_sent(client: Client, own: PrivateEngine, disk: Disk) -> None:
    client.target.check()
    before = settled(own)
    disk.fill(MEGABYTE)
    request, tree = client.request("print('works')", files={"data": os.urandom(3 * MEGABYTE)})
    refused(client, request, tree)
    assert settled(own) == before
    disk.clear()
    assert client.follow(client.submit(request, tree).run_id).log == b"works\n"


def test_a_run_that_cannot_be_started(client: Client, own: PrivateEngine, disk: Disk) -> None:
    client.target.check()
    request, tree = client.request("print('works')")
    client.target.send(tree)
    before = settled(own)
    disk.fill()
    refused(client, request, tree)
    assert settled(own) == before
    disk.clear()
    assert client.follow(client.submit(request, tree).run_id).log == b"works\n"


def test_a_disk_that_fills_up_anywhere_on_the_way_to_a_container_leaves_nothing(
    client: Client, own: PrivateEngine, disk: Disk
) -> None:
    client.finish("print('here')")
    request, tree = client.request("print('works')")
    client.target.send(tree)
    before, ends, refusals = settled(own), set(), set()
    for left in (16, 48, 80, 128, 192, 512):
        disk.fill(left * 1024)
        one = replace(request, run_id=f"{request.run_id}_{left}", lineage=f"{request.lineage}-{left}")
        try:
            ends.add(client.follow(client.submit(one, tree).run_id).end.status)
        except TargetRefusedError as error:
            refusals.add("no space left" in str(error).lower())
        assert settled(own) == before
        disk.clear()
    assert Status.COMPLETED in ends
    assert refusals == {True}


def test_a_working_copy_that_cannot_be_made(client: Client, disk: Disk) -> None:
    client.target.check()
    request, tree = client.request("print('works')", files={"data": os.urandom(2 * MEGABYTE)})
    client.target.send(tree)
    disk.fill(MEGABYTE)
    end = client.follow(client.submit(request, tree).run_id).end
    assert end.status is Status.FAILED
    assert "No space left on device" in (end.message or "")


def test_a_log_that_fills_the_disk(client: Client, disk: Disk) -> None:
    client.target.check()
    disk.fill(2 * MEGABYTE)
    followed = client.finish(argv=("sh", "-c", "yes | head -c 100000000; echo survived"))
    assert (followed.end.status, followed.end.reason) == (Status.FAILED, Reason.TARGET)
    assert "run.log: No space left on device" in (followed.end.message or "")
    assert followed.log.startswith(b"y\ny\n")
    assert b"survived" not in followed.log


def of_image(**image: str | None) -> dict[str, object]:
    """Return the plan of an environment that is an image: by ``reference``, or of a ``dockerfile``."""
    named = {"reference": None, "dockerfile": None, "context": None, "registry": None, "platform": None}
    return {**DEFAULT_ENVIRONMENT, "image": {**named, **image}}


def test_a_step_of_a_dockerfile_that_fills_the_disk(
    client: Client, own: PrivateEngine, disk: Disk, base_image_name: str
) -> None:
    client.finish("print('here')")
    before = settled(own)
    dockerfile = f"FROM {base_image_name}\nRUN head -c {20 * MEGABYTE} /dev/zero > /zeros\n"
    disk.fill(10 * MEGABYTE)
    end = client.finish("print('never')", environment=of_image(dockerfile=dockerfile)).end
    assert (end.status, end.reason) == (Status.FAILED, Reason.ENVIRONMENT)
    assert "No space left on device" in (end.message or "")
    assert settled(own) == before
    disk.clear()
    assert client.finish("print('works')", environment=of_image(dockerfile=dockerfile)).log == b"works\n"


def test_a_build_context_that_the_engine_has_no_space_for_in_an_image(
    client: Client, own: PrivateEngine, disk: Disk, base_image_name: str, tmp_path: Path
) -> None:
    """There is room for it once: where the engine unpacks it."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM {base_image_name}\nCOPY zeros /zeros\n")
    (folder / "zeros").write_bytes(bytes(20 * MEGABYTE))
    context = BuildContext.of(folder, "Dockerfile")
    environment = of_image(context=str(folder), dockerfile_path="Dockerfile", context_digest=context.digest())
    client.finish("print('here')")
    request, tree = client.request("print('works')", environment=environment)
    client.target.send(tree)
    before = settled(own)
    disk.fill(30 * MEGABYTE)
    assert "for the image" in refused(client, request, tree)
    assert settled(own) == before
    disk.clear()
    assert client.follow(client.submit(request, tree).run_id).log == b"works\n"


@pytest.mark.needs("image registry")
def test_an_image_that_cannot_be_fetched(
    client: Client, own: PrivateEngine, disk: Disk, store: str, docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    """There is room for what travels, and none for what is in it."""
    client.finish("print('here')")
    before = settled(own)
    registry = ImageRegistry(tmp_path / "registry", is_open=True)
    try:
        name = f"{registry.address}/{store}:1"
        docker_client.api.tag(small_image(store, "0" * 20 * MEGABYTE), name)
        assert '"error"' not in docker_client.images.push(name)
        disk.fill(6 * MEGABYTE)
        request, tree = client.request("print('never')", environment=of_image(reference=name))
        assert f"There is no space left for the image {name}" in refused(client, request, tree)
        assert settled(own) == before
    finally:
        registry.remove()


@pytest.mark.needs("network")
def test_an_environment_that_cannot_be_built(client: Client, own: PrivateEngine, disk: Disk) -> None:
    client.finish("import iniconfig", environment=from_pip("iniconfig"))  # brings what builds
    before = settled(own)
    disk.fill(2 * MEGABYTE)
    end = client.finish("import setuptools", environment=from_pip("setuptools")).end
    assert end.status is Status.FAILED
    assert "No space left on device" in (end.message or "") + (end.last_lines or "")
    assert settled(own) == before
    disk.clear()
    assert client.finish("import setuptools", environment=from_pip("setuptools")).end.status is Status.COMPLETED


@pytest.mark.needs("network")
def test_an_environment_that_cannot_become_an_image(client: Client, own: PrivateEngine, disk: Disk) -> None:
    """There is room for it in the cache, and in its container, and none for a third one of it."""
    client.finish("import setuptools", environment=from_pip("setuptools"))
    before = settled(own)
    disk.fill(int(2.5 * grown_bytes(own)))
    refused(client, *client.request("import setuptools", environment=from_pip("setuptools", "iniconfig")))
    assert settled(own) == before
    disk.clear()
    environment = from_pip("setuptools", "iniconfig")
    assert client.finish("import setuptools", environment=environment).end.status is Status.COMPLETED
