"""Containers of an engine on a machine over SSH, in a real Airflow: watched by workers and triggerers that may die."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import docker
import pytest

from scripts.airflow_services import AirflowServices
from tests.docker.leaks import Leaks, new_volume
from tests.e2e.conftest import CONNECTION_ID
from tests.e2e.lane import CONTAINERS, E2E, Lane
from tests.e2e.together import check_success, kill_watchers, told, until_all_wait

pytestmark = [*E2E, pytest.mark.needs("docker")]


@pytest.fixture(scope="module")
def volume(airflow: AirflowServices, engine: str, base_image_name: str) -> Iterator[str]:
    """The volume of the connection ``engine``, which leads to this machine's engine through the machine over SSH."""
    name, leaks = new_volume(), Leaks(engine)
    extra = {"ssh_connection": CONNECTION_ID, "volume": name, "base_image": base_image_name, "network": "none"}
    fields = {"conn_type": "scriptrun_docker", "host": engine, "extra": json.dumps(extra)}
    airflow.api("POST", "/connections", {"connection_id": "engine", **fields})
    try:
        yield name
        airflow.api("DELETE", "/connections/engine")
    finally:
        leaks.remove(leaks.of(name))
        leaks.close()


@pytest.fixture
def jobs(volume: str, lane: Callable[..., Lane]) -> list[Lane]:
    """A DAG run in each lane, whose script runs and whose task waits."""
    return until_all_wait([lane(name) for name in CONTAINERS])


def test_runs_in_containers_whose_watchers_died_are_joined_and_their_logs_go_on(
    airflow: AirflowServices, jobs: list[Lane]
) -> None:
    told(jobs, "line one")
    tries = {job: job.try_number() for job in jobs}
    kill_watchers(airflow, jobs)
    for job in jobs:
        job.say("line that nobody saw")
    airflow.restore()
    for job in jobs:
        job.until_try(tries[job] if job.is_deferrable else tries[job] + 1)
    told(jobs, "line two")
    for job in jobs:
        job.go()
    for job in jobs:
        check_success(job, "line one", "line that nobody saw", "line two")


def test_a_task_that_a_person_fails_takes_its_container_along(engine: str, volume: str, jobs: list[Lane]) -> None:
    told(jobs, "line one")  # a trigger that has begun hears of it
    client = docker.DockerClient(base_url=engine)
    labels = {"label": [f"scriptrun.volume={volume}", "scriptrun.kind=run"]}
    assert len(client.containers.list(filters=labels)) == len(jobs)
    for job in jobs:
        job.mark("failed")
    for job in jobs:
        assert job.until_over() == "failed"
    jobs[0].until(lambda: client.containers.list(all=True, filters=labels) == [], "the end of the containers")
    assert [len(job.starts()) for job in jobs] == [1] * len(jobs)
    client.close()
