"""Each lane of a real Airflow runs a script to its end: in the worker and deferred, on hosts and in containers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scripts.airflow_services import COMMANDS, AirflowServices
from tests.e2e.lane import E2E, LANES, Lane

pytestmark = E2E


def test_every_part_of_this_airflow_is_a_process_of_its_own(airflow: AirflowServices) -> None:
    assert set(airflow.services) == set(COMMANDS)
    assert len({service.pid for service in airflow.services.values()}) == len(COMMANDS)
    assert "postgresql" in airflow.command("config", "get-value", "database", "sql_alchemy_conn")


@pytest.mark.parametrize("name", LANES)
def test_a_script_runs_once_and_its_lines_are_in_the_log_while_it_runs(lane: Callable[..., Lane], name: str) -> None:
    job = lane(name)
    job.until_started()
    job.until_waiting()
    job.say("line one")
    job.until_shown("line one")
    job.say("line two")
    job.go()
    assert job.until_over() == "success"
    assert len(job.starts()) == 1
    assert job.shown() == ["the script has started", "line one", "line two", "the script is done"]
    record = job.record()
    assert record["run_id"] == job.starts()[0]
    assert record["status"] == "Completed"
    assert [file["path"] for file in record["outputs"]["files"]] == ["begun.txt", "done.txt"]
