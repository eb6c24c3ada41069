"""One script run after another in a real Airflow: what the first one left is the second one's input."""

from __future__ import annotations

from pathlib import Path

from scripts.airflow_api import quoted
from scripts.airflow_services import AirflowServices
from tests.e2e.lane import E2E, PATIENCE_SECONDS

pytestmark = E2E


def test_a_run_reads_what_the_one_before_left_elsewhere_and_an_asset_hears_which_run_that_was(
    airflow: AirflowServices, tmp_path: Path
) -> None:
    airflow.restore()
    dag_run = airflow.trigger("chained", {"folder": str(tmp_path)})
    try:
        airflow.until(
            lambda: airflow.task_instance("chained", dag_run, "train")["state"] == "deferred",
            PATIENCE_SECONDS,
            "the first task was not deferred",
        )
    finally:
        (tmp_path / "go").touch()
    assert airflow.wait_for_run("chained", dag_run, PATIENCE_SECONDS) == "success"

    first, second = (airflow.xcom("chained", dag_run, task) for task in ("train", "evaluate"))
    assert (first["target"]["name"], second["target"]["name"]) == ("local", "vm")
    assert second["inputs"]["model"]["uri"] == first["outputs"]["uri"]
    said = Path(second["log"]["uri"].removeprefix("file://")).read_text().splitlines()
    assert said == [f'{first["run_id"]} {{"rmse": 0.25}}', f"of {first['run_id']}"]

    (event,) = airflow.api("GET", f"/assets/events?source_dag_id=chained&source_run_id={quoted(dag_run)}")[
        "asset_events"
    ]
    assert (event["name"], event["uri"]) == ("chained model", "s3://models/chained")
    assert event["extra"] == {
        "run_id": first["run_id"],
        "experiment": "chained",
        "metrics": {"rmse": 0.25},
        "outputs": first["outputs"]["uri"],
        "snapshot": first["snapshot"]["id"],
    }
