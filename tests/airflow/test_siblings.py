"""Mapped tasks that start at once, each in a worker of its own: what they share is sent once, and built once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.airflow.harness import FakeAirflow
from tests.airflow.project import Project
from tests.airflow.workers import PATIENCE_SECONDS, Job, Nursery
from tests.network.sshd import Sshd

pytestmark = pytest.mark.slow

SIBLINGS = 4
FILES = 300
LARGE_BYTES = 8_000_000
DAG_FILE = """
from airflow.sdk import DAG
from airflow_provider.scriptrun import Environment, ScriptRunConfig, ScriptRunOperator

with DAG("dag", schedule=None) as dag:
    ScriptRunOperator.partial(
        task_id="train",
        config=ScriptRunConfig(
            "code", "train.py", compute_target={target!r}, inputs={{"data": "data"}},
            environment=Environment.from_pip_requirements("alpha", "requirements.txt"),
        ),
    ).expand(arguments=[[n] for n in range({siblings})])
"""


def write(project: Project, target: str, index: str) -> Path:
    """Write the DAG file, and a tree that takes a while to be sent."""
    for folder in ("code", "data"):
        (project.dags / folder).mkdir()
        for number in range(FILES):
            (project.dags / folder / f"{number}.txt").write_text(f"{folder} {number}")
    (project.dags / "data" / "large").write_bytes(bytes(range(250)) * (LARGE_BYTES // 250))
    (project.dags / "code" / "train.py").write_text("import alpha; alpha.main()")
    (project.dags / "requirements.txt").write_text(f"--no-index\n--find-links {index}\nalpha\n")
    path = project.dags / "dag.py"
    path.write_text(DAG_FILE.format(target=target, siblings=SIBLINGS))
    return path


def all_at_once(
    project: Project, workers: Nursery, dag: Path, connections: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Run every instance, all begun at the same moment, and return their records."""
    begun = []
    for number in range(SIBLINGS):
        database = project.root / f"airflow{number}.json"
        FakeAirflow(file=database, map_index=number)
        job = Job(
            database=str(database),
            dag_file=str(dag),
            task_id="train",
            outcome=str(project.root / f"worker{number}.json"),
            log=str(project.root / f"worker{number}.log"),
            retries=0,
            map_index=number,
            variables=project.variables,
            connections=connections,
        )
        begun.append((database, workers.start(job)))
    records = []
    for database, worker in begun:
        ending = worker.wait(3 * PATIENCE_SECONDS)
        assert ending is not None
        assert ending.state == "success", worker.log()
        records.append(json.loads(database.read_text())["xcom"]["return_value"])
    return records


def assert_shared(records: list[dict[str, Any]]) -> None:
    """Assert that all have one snapshot, one input and one environment, each of which came there once."""
    assert len({record["run_id"] for record in records}) == SIBLINGS
    for what in (
        [record["snapshot"] for record in records],
        [record["inputs"]["data"] for record in records],
    ):
        assert len({facts["id"] for facts in what}) == 1
        sent = [facts["sent_bytes"] for facts in what]
        assert sorted(sent) == [0] * (SIBLINGS - 1) + [what[0]["bytes"]], "one has sent all of it, and nobody else any"
    environments = [record["environment"] for record in records]
    assert len({environment["id"] for environment in environments}) == 1
    assert [environment["reused"] for environment in environments].count(False) == 1, "one has built it"


def test_siblings_on_this_host_send_nothing_and_build_nothing_twice(
    project: Project, workers: Nursery, index: str
) -> None:
    dag = write(project, "local", index)
    assert_shared(all_at_once(project, workers, dag, {}))


@pytest.mark.needs("sshd")
def test_siblings_on_a_machine_over_ssh_send_nothing_and_build_nothing_twice(
    project: Project, workers: Nursery, index: str
) -> None:
    with Sshd(own_network=False) as server:
        connection = server.connection()
        connections = {"vm": {**connection, "extra": json.dumps(connection["extra"])}}
        dag = write(project, "vm", index)
        records = all_at_once(project, workers, dag, connections)
        assert_shared(records)
        (log,) = [path.read_text() for path in project.root.glob("worker*.log") if "Sent uv to" in path.read_text()]
        assert log.count("Sent uv to vm") == 1
