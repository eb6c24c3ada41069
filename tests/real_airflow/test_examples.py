"""The example DAGs as wholes: branch on the metrics, an asset that starts another DAG, a matrix over two targets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts.airflow_instance import AirflowInstance
from scripts.private_sshd import PrivateSshd

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.xdist_group("real_airflow"),
    pytest.mark.needs("network"),
]

#: An environment may have to be built on the way.
PATIENCE_SECONDS = 600.0


def states(airflow: AirflowInstance, dag_id: str, run_id: str) -> dict[str, str]:
    """Task id (and the name of a mapped instance) -> state."""
    from scripts.airflow_api import quoted

    found = airflow.api("GET", f"/dags/{dag_id}/dagRuns/{quoted(run_id)}/taskInstances")["task_instances"]
    return {one["rendered_map_index"] or one["task_id"]: one["state"] for one in found}


def leaderboard_with(airflow: AirflowInstance, run_id: str) -> dict[str, Any]:
    """Wait for the DAG run of ``leaderboard`` that an event of this run has started; return its row of the table."""

    def look() -> dict[str, Any] | None:
        for dag_run in airflow.api("GET", "/dags/leaderboard/dagRuns?order_by=-run_after")["dag_runs"]:
            if dag_run["state"] != "success":
                continue
            assert dag_run["run_type"] == "asset_triggered"
            table = airflow.xcom("leaderboard", dag_run["dag_run_id"], "enter") or []
            if row := next((row for row in table if row[0] == run_id), None):
                return {"row": row, "table": table, "events": dag_run["dag_run_id"]}
        return None

    return airflow.until(look, PATIENCE_SECONDS, f"the leaderboard did not hear of {run_id}") or {}


def train(airflow: AirflowInstance, **params: Any) -> tuple[str, dict[str, Any]]:
    """Run ``scheduled_training`` to its end; return the DAG run's id and the run record."""
    dag_run = airflow.trigger("scheduled_training", params)
    assert airflow.wait_for_run("scheduled_training", dag_run, PATIENCE_SECONDS) == "success"
    return dag_run, airflow.xcom("scheduled_training", dag_run, "train")


def test_only_a_model_that_is_good_enough_is_published_and_each_training_starts_the_leaderboard(
    airflow: AirflowInstance,
) -> None:
    airflow.until(
        lambda: "leaderboard" in {dag["dag_id"] for dag in airflow.api("GET", "/dags")["dags"]},
        PATIENCE_SECONDS,
        "the DAG leaderboard did not appear",
    )
    airflow.api("PATCH", "/dags/leaderboard", {"is_paused": False})

    dag_run, good = train(airflow)
    ended = states(airflow, "scheduled_training", dag_run)
    assert (ended["publish"], ended["leave_it"]) == ("success", "skipped")
    published = airflow.home / "published" / "sensors.json"
    model = json.loads(published.read_text())
    assert model["alpha"] == 0.1
    heard = leaderboard_with(airflow, good["run_id"])
    assert heard["row"] == [good["run_id"], f"{good['metrics']['rmse']:.4f}", good["outputs"]["uri"]]

    dag_run, bad = train(airflow, alpha=1000.0)
    ended = states(airflow, "scheduled_training", dag_run)
    assert (ended["publish"], ended["leave_it"]) == ("skipped", "success")
    assert json.loads(published.read_text()) == model, "what was published stays"
    heard = leaderboard_with(airflow, bad["run_id"])
    assert heard["table"].index(heard["row"]) > 0, "the better one stands above it"


def test_another_threshold_is_a_trigger_away(airflow: AirflowInstance) -> None:
    dag_run, _ = train(airflow, max_rmse=0.0)
    ended = states(airflow, "scheduled_training", dag_run)
    assert (ended["publish"], ended["leave_it"]) == ("skipped", "success")


def matrix(airflow: AirflowInstance, **params: Any) -> tuple[dict[str, str], list[str]]:
    """Run ``training_matrix`` to its end; return the states of its tasks and what the last one printed."""
    dag_run = airflow.trigger("training_matrix", params)
    state = airflow.wait_for_run("training_matrix", dag_run, PATIENCE_SECONDS)
    ended = states(airflow, "training_matrix", dag_run)
    assert state == "success", ended
    return ended, airflow.task_log("training_matrix", dag_run, "compare")


def test_the_matrix_runs_on_this_machine_as_it_is(airflow: AirflowInstance) -> None:
    ended, log = matrix(airflow)
    found = [line.split() for line in log if " local " in line]
    assert [line[1] for line in found] == ["local", "local"]
    assert float(found[0][0]) < float(found[1][0])
    named = {name for name in ended if name.startswith("--data")}
    assert named == {f"--data inputs/readings.csv --alpha {alpha} --seed 7" for alpha in ("0.1", "100.0")}


@pytest.mark.needs("sshd")
def test_the_matrix_takes_targets_and_values_from_whoever_triggers_it(
    airflow: AirflowInstance, training_vm: PrivateSshd
) -> None:
    ended, log = matrix(airflow, compute_target=["local", "training_vm"], alpha=[0.5, 50])
    found = [tuple(line.split()[1:]) for line in log if "inputs/readings.csv" in line and "--alpha" in line]
    assert {(line[0], line[line.index("--alpha") + 1]) for line in found} == {
        (target, alpha) for target in ("local", "training_vm") for alpha in ("0.5", "50")
    }
    assert sum(name.endswith("on training_vm") for name in ended) == 2
    assert training_vm.client_key.splitlines()[1] not in "\n".join(log)
