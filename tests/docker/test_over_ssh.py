"""Containers on a machine over SSH: by use_docker on the machine's own connection, and by one of an engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from airflow_provider.scriptrun import DockerConfiguration
from airflow_provider.scriptrun.errors import TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.hooks.surroundings import AirflowSurroundings
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets import session
from airflow_provider.scriptrun.targets.handle import Handle
from airflow_provider.scriptrun.targets.registry import open_handle, open_target
from tests.conformance.client import Client
from tests.docker.leaks import Leaks, new_volume
from tests.network.proxy import DelayingProxy
from tests.ssh.watched import Watching
from tests.ssh.worker import NAME, Worker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs("private engine", "sshd", "another user"),
    pytest.mark.xdist_group("docker_vm"),
]
LINES = 10_000
GATED = f"""
import os, time
for word in ("begun", "again", "go"):
    while not os.path.exists("/gate/" + word):
        time.sleep(0.01)
    print(word, flush=True)
print(*range({LINES}), sep="\\n")
"""
CONTAINER = "import os; open('outputs/where', 'w').write(str(os.path.exists('/.dockerenv'))); print('in it')"


@pytest.fixture
def worker(tmp_path, monkeypatch):
    return Worker(tmp_path, monkeypatch)


@contextmanager
def client_of(worker: Worker, document: Mapping[str, Any]) -> Iterator[Client]:
    """Open an engine by a connection beside the machine's, for a client that leaves no run behind."""
    with open_target(worker.connect(document, "engine"), AirflowSurroundings()) as target:
        client = Client(target)
        yield client
        client.cancel_all()


def docker_configuration() -> DockerConfiguration:
    return DockerConfiguration(use_docker=True, arguments=["--network", "host"])


def test_use_docker_runs_a_script_in_a_container_of_the_connections_own_machine(ready_docker_vm, worker):
    worker.connect(ready_docker_vm.sshd.host.connection())
    run = worker.submit({"main.py": CONTAINER}, docker_runtime_config=docker_configuration())
    end = run.wait_for_completion(raise_on_error=False)
    assert end["status"] == "Completed", end
    handle = Handle.from_document(run.submission["handle"])
    assert (handle.target, handle.connection) == ("docker", NAME)
    with open_handle(handle, AirflowSurroundings()) as target:
        assert target.target_type == "docker"
        assert target.status([run.id])[run.id].status is Status.COMPLETED


def test_a_connection_of_an_engine_leads_there_over_ssh(ready_docker_vm, worker, base_image_name):
    worker.connect(ready_docker_vm.sshd.host.connection())
    volume = new_volume()
    extra = {"volume": volume, "base_image": base_image_name, "network": "host"}
    document = {"conn_type": "scriptrun_docker", "host": f"ssh://{NAME}", "extra": extra}
    with client_of(worker, document) as client:
        followed = client.finish(CONTAINER)
        assert followed.end.status is Status.COMPLETED
        assert b"in it" in followed.log
        assert "outputs/where" in [file.path for file in client.target.files(followed.run_id).files]
        sleeper = client.start("import time; print('up', flush=True); time.sleep(600)")
        client.wait_for(sleeper.run_id, "up")
        assert client.target.cancel(sleeper.run_id, wait_s=60).reason is Reason.CANCELED
    leaks = Leaks(ready_docker_vm.engine.url)
    leaks.clear(volume)
    leaks.close()


def test_a_connection_that_is_reset_or_swallows_everything_costs_a_run_nothing(
    ready_docker_vm, worker, tmp_path, monkeypatch
):
    monkeypatch.setenv("AIRFLOW__SCRIPTRUN__POLL_WAIT_SECONDS", "1")
    gate, host = tmp_path / "gate", ready_docker_vm.sshd.host
    gate.mkdir()
    (gate / "begun").touch()
    arguments = ["--network", "none", "-v", f"{gate}:/gate"]
    with DelayingProxy(host) as proxy:
        worker.connect(host.connection(via=proxy, host_key=None, no_host_key_check=True))
        configuration = DockerConfiguration(use_docker=True, arguments=arguments)
        watching = Watching(worker.submit({"main.py": GATED}, docker_runtime_config=configuration))
        watching.heard("begun")
        patience = session.PATIENCE_S
        monkeypatch.setattr(session, "PATIENCE_S", 3.0)  # what is asked once it came back
        proxy.drop()
        (gate / "again").touch()
        watching.heard("again")
        proxy.stall()
        watching.heard("did not answer for")
        proxy.drop()
        proxy.stall(False)
        monkeypatch.setattr(session, "PATIENCE_S", patience)
        (gate / "go").touch()
        assert watching.record()["status"] == "Completed"
    lines = b"".join(watching.run.folder.read("run.log")).decode().splitlines()
    assert lines == ["begun", "again", "go", *map(str, range(LINES))]


@pytest.mark.parametrize(
    ("variable", "kind", "said"),
    [
        ("DOCKER_HOST=unix:///nowhere/docker.sock", TargetUnreachableError, "No Docker engine answers"),
        ("DOCKER_HOST=unix:///var/run/docker.sock", TargetRefusedError, "may not use the Docker engine"),
        ("PATH=/nowhere", TargetRefusedError, "docker cannot be executed"),
    ],
)
def test_what_keeps_a_user_from_the_engine_is_said(docker_vm, worker, variable, kind, said):
    docker_vm.restart(variable)
    try:
        worker.connect(docker_vm.sshd.host.connection())
        with (
            client_of(worker, {"conn_type": "scriptrun_docker", "host": f"ssh://{NAME}"}) as client,
            pytest.raises(kind, match=said),
        ):
            client.target.host()
    finally:
        docker_vm.restart()
