"""One real Airflow for all tests of this folder: a process for each part, PostgreSQL, a host over SSH, an engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts import demo_ssh
from scripts.airflow_services import AirflowServices
from scripts.private_sshd import PrivateSshd
from tests.e2e.engine_volume import EngineVolume
from tests.e2e.lane import CONTAINERS, Lane

HERE = Path(__file__).parent
#: The connection to the host over SSH; what is kept there lies under Airflow's home.
CONNECTION_ID = "vm"
#: A dead triggerer is missed after this time; the default of 30 s is long to wait for. The scheduler's own time is left
#: as it is: one that is late on a busy machine takes itself for dead, and gives all its tasks to others.
THRESHOLD_SECONDS = 15
#: The same for a dead worker; the default is 300 s. One that starts on a busy machine is silent for a while.
HEARTBEAT_TIMEOUT_SECONDS = 30
OPTIONS = {
    "AIRFLOW__CORE__PARALLELISM": "12",
    "AIRFLOW__CORE__MAX_ACTIVE_RUNS_PER_DAG": "200",
    "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "200",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_TIMEOUT_SECONDS),
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(THRESHOLD_SECONDS),
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    # one machine: the triggerers see the processes and folders of a local run
    "AIRFLOW__SCRIPTRUN__TRIGGERER_SHARES_HOST": "True",
    "AIRFLOW__SCRIPTRUN__DEFER_AFTER_SECONDS": "1",
    "AIRFLOW__SCRIPTRUN__CANCEL_GRACE_SECONDS": "5",
    # nobody asks there: only what a page links to is looked at
    "AIRFLOW__SCRIPTRUN__WORKSPACE_PAGE": "https://files.example.com/scriptrun",
    "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
}


#: How long Airflow took to be ready, for the summary.
SECONDS_TO_START = pytest.StashKey[float]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how long Airflow took to be ready."""
    seconds = config.stash.get(SECONDS_TO_START, None)
    if seconds is not None:
        terminalreporter.write_line(f"From nothing to an Airflow that is ready: {seconds:.0f} s")


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[AirflowServices]:
    """A running Airflow that serves the DAGs of this folder and knows the host ``vm``; stopped at the end."""
    home = tmp_path_factory.mktemp("e2e")
    dags = shutil.copytree(HERE / "dags", home / "dags")
    with PrivateSshd(home).running() as server, AirflowServices(home, dags, options=OPTIONS).running() as services:
        pytestconfig.stash[SECONDS_TO_START] = services.seconds_to_start
        document = demo_ssh.connection(server, home / CONNECTION_ID)
        document["extra"] = json.dumps(document["extra"])
        services.api("POST", "/connections", {"connection_id": CONNECTION_ID, **document})
        yield services


@pytest.fixture(scope="session")
def engine_volume(airflow: AirflowServices, engine: str, base_image_name: str) -> Iterator[EngineVolume]:
    """The volume of the connection ``engine``, which leads to this machine's engine through the host ``vm``."""
    with EngineVolume(engine, base_image_name) as volume:
        extra = {
            "ssh_connection": CONNECTION_ID,
            "volume": volume.name,
            "base_image": base_image_name,
            "network": "none",
        }
        fields = {"conn_type": "scriptrun_docker", "host": engine, "extra": json.dumps(extra)}
        airflow.api("POST", "/connections", {"connection_id": "engine", **fields})
        yield volume
        airflow.api("DELETE", "/connections/engine")


@pytest.fixture
def lane(airflow: AirflowServices, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Lane]]:
    """Start a DAG run in a lane: ``lane("ssh_deferred")``. Whatever the test did, its scripts may end afterwards."""
    started: list[Lane] = []

    def start(name: str, kind: str = "job") -> Lane:
        folder = tmp_path / f"{kind}_{name}_{len(started)}"
        folder.mkdir()
        volume = request.getfixturevalue("engine_volume") if name in CONTAINERS else None
        started.append(Lane.start(airflow, name, folder, kind=kind, volume=volume))
        return started[-1]

    airflow.restore()
    yield start
    for one in started:
        one.go()
