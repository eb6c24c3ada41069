"""What a run's container is like, as the engine says and as its script sees it: what was asked for, and no more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from airflow_provider.scriptrun import DockerConfiguration, Experiment, ScriptRunConfig, Workspace
from airflow_provider.scriptrun.runs.run import Run
from tests.docker.leaks import LABEL

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow]

MEGABYTE = 1024 * 1024
WAITS = "import time; time.sleep(600)"
WRITES = """
import os
assert os.getuid() == 0
for path in ("/scriptrun/blobs/x", "/scriptrun/runs/x"):
    try:
        open(path, "w")
    except OSError as error:
        print(error.strerror)
open("outputs/x", "w").close()
"""
#: Both versions of control groups have a word for each limit.
SAYS_LIMITS = """
import json, os, resource
def words(*paths):
    return [word for path in paths if os.path.exists(path) for word in open(path).read().split()]
groups, shared = "/sys/fs/cgroup", os.statvfs("/dev/shm")
quota, period = words(f"{groups}/cpu.max", f"{groups}/cpu/cpu.cfs_quota_us", f"{groups}/cpu/cpu.cfs_period_us")
(memory,) = words(f"{groups}/memory.max", f"{groups}/memory/memory.limit_in_bytes")
print(json.dumps({
    "shm": shared.f_blocks * shared.f_frsize, "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "cpus": int(quota) / int(period), "memory": int(memory), "colour": os.environ.get("COLOUR"),
    "data": os.path.ismount("/data") and os.listdir("/data"),
}))
"""


class Boxes:
    """Submits scripts to an engine, as plain Python does."""

    def __init__(self, folder: Path) -> None:
        self._source = folder / "code"
        self._source.mkdir()
        self._experiment = Experiment(Workspace(str(folder / "workspace")), "boxes")

    def submit(self, script: str, **docker: Any) -> Run:
        """Submit a script; ``docker``: of the configuration of its container."""
        (self._source / "main.py").write_text(script)
        config = ScriptRunConfig(self._source, script="main.py", compute_target="engine")
        config.run_config.docker = DockerConfiguration(**docker)
        return self._experiment.submit(config)

    def said(self, script: str, **docker: Any) -> str:
        """Return what a script printed."""
        run = self.submit(script, **docker)
        run.wait_for_completion()
        assert run.record is not None
        return Path(run.record["log"]["uri"]).read_text()

    @contextmanager
    def waiting(self, **docker: Any) -> Iterator[Run]:
        """A run that goes on meanwhile."""
        run = self.submit(WAITS, **docker)
        try:
            yield run
        finally:
            run.cancel()
            run.close()


@pytest.fixture
def boxes(name_engine: Callable[..., str], tmp_path: Path) -> Boxes:
    name_engine(network="none")
    return Boxes(tmp_path)


def inspected(client: docker.DockerClient, store: str, run: Run) -> dict[str, Any]:
    """Return what the engine says of a run's container, by the name that it is promised."""
    found: dict[str, Any] = client.api.inspect_container(f"{store}-{run.id}")
    return found


def sources(client: docker.DockerClient, store: str, run: Run) -> tuple[set[str], set[str]]:
    """Return what a run's container has mounted: of the volume, and else."""
    where = client.api.inspect_volume(store)["Mountpoint"]
    found = {mount["Source"] for mount in inspected(client, store, run)["Mounts"]}
    own = {source for source in found if source == where or source.startswith(f"{where}/")}
    return own, found - own


def test_root_in_a_container_cannot_write_to_what_runs_share(boxes: Boxes) -> None:
    assert boxes.said(WRITES) == "Read-only file system\n" * 2


def test_a_container_is_named_and_labelled_after_its_run_and_has_nothing_of_the_workers_disk(
    boxes: Boxes, docker_client: docker.DockerClient, store: str
) -> None:
    with boxes.waiting() as run:
        labels = inspected(docker_client, store, run)["Config"]["Labels"]
        own, others = sources(docker_client, store, run)
    ours = {name: value for name, value in labels.items() if name.startswith("scriptrun.")}
    assert {name: ours.get(name) for name in (LABEL, "scriptrun.kind", "scriptrun.run", "scriptrun.experiment")} == {
        LABEL: store, "scriptrun.kind": "run", "scriptrun.run": run.id, "scriptrun.experiment": "boxes"
    }  # fmt: skip
    assert docker_client.api.inspect_volume(store)["Labels"] == {LABEL: store}
    assert own
    assert others == set()


def test_a_folder_that_was_asked_for_is_the_only_one_more(
    boxes: Boxes, docker_client: docker.DockerClient, store: str, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    with boxes.waiting(arguments=["-v", f"{shared}:/x"]) as run:
        assert sources(docker_client, store, run)[1] == {str(shared)}


def test_what_a_configuration_asks_for_reaches_the_script(boxes: Boxes, store: str) -> None:
    arguments = [
        "--cpus", "0.75", "--memory", "192m", "--ulimit", "nofile=1000:2000", "-v", f"{store}-data:/data",
        "-e", "COLOUR=green",
    ]  # fmt: skip
    assert json.loads(boxes.said(SAYS_LIMITS, arguments=arguments, shm_size="96m")) == {
        "shm": 96 * MEGABYTE, "files": [1000, 2000], "cpus": 0.75, "memory": 192 * MEGABYTE, "colour": "green",
        "data": [],
    }  # fmt: skip


def test_what_a_connection_says_reaches_every_script_and_a_configuration_beats_it(
    boxes: Boxes, name_engine: Callable[..., str]
) -> None:
    name_engine(network="none", cpus="0.5", memory="256m", environment_variables={"COLOUR": "blue"})
    found = json.loads(boxes.said(SAYS_LIMITS))
    assert (found["cpus"], found["memory"], found["colour"]) == (0.5, 256 * MEGABYTE, "blue")
    assert (found["shm"], found["data"]) == (2048 * MEGABYTE, False)
    found = json.loads(boxes.said(SAYS_LIMITS, arguments=["--cpus", "1.5", "-e", "COLOUR=red"]))
    assert (found["cpus"], found["memory"], found["colour"]) == (1.5, 256 * MEGABYTE, "red")
