"""One real Airflow for all the tests of this folder: API server, scheduler, dag-processor, triggerer, on SQLite."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import demo_ssh
from scripts.airflow_home import CHECKOUT
from scripts.airflow_instance import AirflowInstance
from scripts.private_sshd import PrivateSshd

HERE = Path(__file__).parent
#: How long a worker may be silent until Airflow gives its task to another; the default of 300 s is long to wait for.
HEARTBEAT_TIMEOUT_SECONDS = 12


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowInstance]:
    """A running Airflow that serves the example DAGs and those of this folder; stopped at the end."""
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    shutil.copytree(CHECKOUT / "dags", dags)
    shutil.copytree(HERE / "dags", dags, dirs_exist_ok=True)
    (dags / ".airflowignore").write_text("training/\njob/\n")
    instance = AirflowInstance(
        home,
        dags,
        options={
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_TIMEOUT_SECONDS),
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
            # one machine: the triggerer sees the processes and folders of a local run
            "AIRFLOW__SCRIPTRUN__TRIGGERER_SHARES_HOST": "True",
            "AIRFLOW__SCRIPTRUN__DEFER_AFTER_SECONDS": "1",
        },
    )
    with instance.running():
        yield instance


@pytest.fixture
def training_vm(airflow: AirflowInstance, tmp_path: Path) -> Iterator[PrivateSshd]:
    """The server behind the connection that the example names, which is in Airflow's database meanwhile."""
    with PrivateSshd(tmp_path).running() as server:
        document = demo_ssh.connection(server, tmp_path / "vm")
        document["extra"] = json.dumps(document["extra"])
        airflow.api("POST", "/connections", {"connection_id": "training_vm", **document})
        try:
            yield server
        finally:
            airflow.api("DELETE", "/connections/training_vm")
