"""Tasks whose scripts run in containers on a machine over SSH: waited for elsewhere, ended, joined, and run once.

The machine is a server of our own with an engine of its own; scripts share a folder with the test by a bind mount.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator
from airflow_provider.scriptrun.hooks.surroundings import AirflowSurroundings
from airflow_provider.scriptrun.runs.host_watches import shared
from airflow_provider.scriptrun.targets.contract import Handle, RunStatus
from airflow_provider.scriptrun.targets.registry import open_handle
from airflow_provider.scriptrun.targets.transports import ssh_connections
from airflow_provider.scriptrun.triggers.wait import OVER
from tests.airflow.harness import RUN_ID, FakeAirflow, Outcome
from tests.airflow.project import Project, until
from tests.airflow.tries import WHOLE_LOG, Tries
from tests.airflow.triggerer import Triggerer, trigger_of
from tests.airflow.workers import Nursery
from tests.docker.vm import DockerVm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs("private engine", "sshd", "another user"),
    pytest.mark.usefixtures("defers_at_once"),
    pytest.mark.xdist_group("docker_vm"),
]
#: The two ways to an engine over SSH: ``use_docker`` on the machine's connection, and a connection of the engine.
WAYS = ("vm", "engine")


class Site:
    """A project whose task runs in a container of a machine over SSH.

    :param way: the id of the connection that it names.
    """

    def __init__(self, project: Project, machine: DockerVm, base_image: str, way: str) -> None:
        self.project, self.machine, self.way = project, machine, way
        extra = {"base_image": base_image, "network": "none"}
        documents = {
            "vm": machine.sshd.host.connection(),
            "engine": {"conn_type": "scriptrun_docker", "host": "ssh://vm", "extra": extra},
        }
        self.connections = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(one) for name, one in documents.items()}
        self.arguments = ["--network", "none", "-v", f"{project.traces}:{project.traces}"]

    @property
    def configuration(self) -> dict[str, Any]:
        """What the task's configuration says beside its script."""
        docker = {"use_docker": self.way == "vm", "arguments": self.arguments}
        return {"compute_target": self.way, "docker_runtime_config": docker}

    def operator(self, **options: Any) -> ScriptRunOperator:
        """Return the task, which waits in the triggerer."""
        self.project.write_dag()
        with DAG("dag") as dag:
            config = ScriptRunConfig("code", "train.py", [str(self.project.traces)], **self.configuration)
            made = ScriptRunOperator(task_id="train", config=config, deferrable=True, **options)
        dag.fileloc = str(self.project.dags / "dag.py")
        return made

    def deferred(self, task: ScriptRunOperator, airflow: FakeAirflow) -> Outcome:
        """Run a try whose script waits, up to where it defers."""
        before = len(self.project.starts())
        self.project.hold()
        outcome = airflow.run(task)
        assert airflow.stored.state == "deferred", outcome.log
        until(lambda: self.project.starts()[before:], "the script's start")
        return outcome

    def status(self, handle: Mapping[str, Any]) -> RunStatus:
        """Ask the machine for the status of a run."""
        found = Handle.from_document(handle)
        with open_handle(found, AirflowSurroundings()) as target:
            assert target.target_type == "docker"
            return target.status([found.run_id])[found.run_id]

    def containers(self) -> list[str]:
        """Return the containers of runs that the machine's engine has."""
        client = self.machine.engine.client()
        try:
            return [one["Id"] for one in client.api.containers(all=True, filters={"label": "scriptrun.kind=run"})]
        finally:
            client.close()


@pytest.fixture
def site(
    project: Project, ready_docker_vm: DockerVm, base_image_name: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Site]:
    def make(way: str = "vm") -> Site:
        made = Site(project, ready_docker_vm, base_image_name, way)
        for name, document in made.connections.items():
            monkeypatch.setenv(name, document)
        return made

    return make


@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_waited_for_in_the_triggerer_by_ids_alone(site: Callable[[str], Site], way: str) -> None:
    there = site(way)
    airflow, task = FakeAirflow(), there.operator()
    shown = there.deferred(task, airflow).lines
    kept = json.dumps(airflow.stored.deferred)
    key = Path(there.machine.sshd.key_path).read_text().splitlines()[1]
    assert key not in kept
    assert there.machine.sshd.user not in kept
    triggerer = Triggerer(trigger_of(airflow))
    until(lambda: "line 2" in shown + triggerer.lines, "the log in the triggerer")
    there.project.release()
    event = triggerer.wait()
    assert event["why"] == OVER, triggerer.lines
    airflow.fire(event)
    outcome = airflow.run(task)
    assert outcome.state == "success", outcome.log
    assert len(there.project.starts()) == 1
    assert there.project.run_log(outcome.record["run_id"]).decode() == WHOLE_LOG
    assert [(shown + triggerer.lines + outcome.lines).count(line) for line in ("line 2", "done")] == [1, 1]


@pytest.mark.parametrize("way", WAYS)
def test_a_person_who_ends_a_task_that_waits_ends_its_container(
    site: Callable[[str], Site], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = site(way)
    airflow, task = FakeAirflow(), there.operator()
    there.deferred(task, airflow)
    assert len(there.containers()) == 1
    trigger = trigger_of(airflow)
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(lambda **_: {RUN_ID: {"train": "failed"}}))
    asyncio.run(trigger.on_kill())
    handle = trigger.wait.handle
    until(lambda: there.status(handle).status.value == "Canceled", "the run's end")
    until(lambda: there.containers() == [], "the container's end")


def test_a_retry_joins_the_run_that_a_lost_triggerer_watched(site: Callable[..., Site]) -> None:
    there = site()
    airflow, task = FakeAirflow(retries=2), there.operator()
    there.deferred(task, airflow)
    airflow.next_try()
    there.project.release()
    outcome = airflow.run(task)
    if airflow.stored.state == "deferred":
        airflow.fire(Triggerer(trigger_of(airflow)).wait())
        outcome = airflow.run(task)
    assert outcome.state == "success", outcome.log
    assert len(there.project.starts()) == 1


@pytest.mark.parametrize("way", WAYS)
def test_the_next_try_joins_the_run_of_a_worker_that_was_killed(
    site: Callable[[str], Site], way: str, workers: Nursery
) -> None:
    there = site(way)
    named = ", ".join(f"{name}={value!r}" for name, value in there.configuration.items())
    tries = Tries(there.project, workers, config=named)
    worker, run_id, _ = tries.running(**there.connections)
    worker.signal(signal.SIGKILL)
    assert worker.wait() is None
    tries.airflow.next_try()
    second = tries.start(**there.connections)
    until(lambda: "oined" in second.log(), f"the second try joins: {second.log()}")
    there.project.release()
    ending = second.wait()
    assert ending is not None
    assert ending.state == "success", ending
    assert [start[0] for start in there.project.starts()] == [run_id]
    assert there.project.run_log(run_id).decode() == WHOLE_LOG


def test_all_runs_of_a_machines_engine_share_a_watch_and_a_connection_that_comes_back(
    site: Callable[..., Site],
) -> None:
    there, waiting = site(), []
    for number in range(3):
        airflow, task = FakeAirflow(map_index=number), there.operator()
        there.deferred(task, airflow)
        waiting.append((airflow, task, Triggerer(trigger_of(airflow))))
    until(lambda: [len(watch._subscriptions) for watch in shared._watches.values()] == [len(waiting)], "one watch")
    assert [connections.count for connections in ssh_connections._shared.values()] == [1]
    there.machine.sshd.kill_connections()
    there.project.release()
    for airflow, task, triggerer in waiting:
        event = triggerer.wait()
        assert event["why"] == OVER, triggerer.lines
        airflow.fire(event)
        outcome = airflow.run(task)
        assert outcome.state == "success", outcome.log
    assert len({run_id for run_id, _ in there.project.starts()}) == len(waiting) == len(there.project.starts())
