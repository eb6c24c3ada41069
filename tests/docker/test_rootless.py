"""An engine that is not root's: the same promises, with the numbers of users that its namespace has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from tests import components
from tests.conformance.client import Client, from_pip
from tests.docker import index
from tests.docker.leaks import Leaks, new_volume
from tests.docker.rootless import RootlessEngine
from tests.ssh.worker import Worker

pytestmark = [pytest.mark.needs("rootless engine"), pytest.mark.slow, pytest.mark.xdist_group("rootless_engine")]

#: A user of an image, and a group.
USER, GROUP = 1234, 4321
SCRIPT = """
import os
for name in ("outputs/model", "data"):
    open(name, "w").close()
open(os.environ["SCRIPTRUN_CHECKPOINTS"] + "/state", "w").close()
print(os.getuid(), os.getgid())
try:
    os.listdir("/scriptrun/blobs")
except PermissionError:
    print("kept from what is others'")
"""


@pytest.fixture(scope="module")
def own(base_image_name: str) -> Iterator[RootlessEngine]:
    components.require("rootless engine")
    with RootlessEngine(load=[base_image_name]) as own:
        yield own


@pytest.fixture
def client(
    own: RootlessEngine, base_image_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    volume = new_volume()
    extra = {"volume": volume, "base_image": base_image_name, "network": index.NETWORK}
    worker = Worker(tmp_path, monkeypatch)
    with worker.client({"conn_type": "scriptrun_docker", "host": own.url, "extra": extra}) as client:
        yield client
    leaks = Leaks(own.url)
    leaks.clear(volume)
    leaks.close()


def outputs(client: Client, run_id: str) -> list[str]:
    return [file.path for file in client.target.files(run_id) if file.path.startswith("outputs/")]


def test_root_in_a_container_is_the_user_whose_engine_it_is(client: Client, own: RootlessEngine) -> None:
    followed = client.finish(SCRIPT)
    assert (followed.end.status, followed.log) == (Status.COMPLETED, b"0 0\n")
    assert outputs(client, followed.run_id) == ["outputs/model"]
    (made,) = own.data.glob(f"volumes/*/_data/runs/{followed.run_id}/code/outputs/model")
    assert made.stat().st_uid == own.user_id


def test_another_user_of_an_image_writes_what_is_its_own_and_sees_nothing_else(
    client: Client, own: RootlessEngine
) -> None:
    followed = client.finish(SCRIPT, container={"user": f"{USER}:{GROUP}"})
    assert followed.end.status is Status.COMPLETED
    assert followed.log.decode().splitlines() == [f"{USER} {GROUP}", "kept from what is others'"]
    assert outputs(client, followed.run_id) == ["outputs/model"]
    (made,) = own.data.glob(f"volumes/*/_data/runs/{followed.run_id}/code/outputs/model")
    assert made.stat().st_uid not in (0, USER, own.user_id)


def test_a_limit_that_the_engine_cannot_hold_is_told(
    client: Client, own: RootlessEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """Without control groups of its own (version 2) it can hold none."""
    client.finish("print('here')", container={"memory": 64 * 1024 * 1024})
    told = [record.getMessage() for record in caplog.records if "the limit of --memory" in record.getMessage()]
    assert len(told) == (0 if own.limits() else 1)


def test_a_cancel_ends_the_whole_container(client: Client) -> None:
    started = client.start("import time; print('up', flush=True); time.sleep(600)")
    client.wait_for(started.run_id, "up")
    assert client.target.cancel(started.run_id, wait_s=60).reason is Reason.CANCELED


@pytest.mark.needs("network")
def test_an_environment_is_built_and_becomes_an_image(client: Client) -> None:
    followed = client.finish("import iniconfig; print(iniconfig.__name__)", environment=from_pip("iniconfig"))
    assert (followed.end.status, followed.log) == (Status.COMPLETED, b"iniconfig\n")
