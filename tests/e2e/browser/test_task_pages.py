"""What the pages of a finished task show: log, run record, links, rendered configuration."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import expect

from scripts.airflow_services import AirflowServices
from tests.e2e.browser.conftest import REPOSITORY, SECRET
from tests.e2e.browser.site import Site
from tests.e2e.lane import E2E, PATIENCE_SECONDS

pytestmark = [*E2E, pytest.mark.needs("chromium")]

WITHOUT_LINE_NUMBERS = """cell => {
    const code = cell.querySelector("pre").cloneNode(true);
    code.querySelectorAll(".linenumber, .react-syntax-highlighter-line-number").forEach(number => number.remove());
    return code.textContent;
}"""


@pytest.fixture(scope="module")
def finished(airflow: AirflowServices, churn: str) -> tuple[str, dict[str, Any]]:
    """A run of the DAG that is over: its id, and the run record of its task."""
    run_id = airflow.trigger(churn, {"epochs": 5, "compute_target": "gpu1"})
    assert airflow.wait_for_run(churn, run_id, PATIENCE_SECONDS) == "success"
    return run_id, airflow.xcom(churn, run_id, "train")


def test_a_tasks_log_shows_the_scripts_lines_in_order(site: Site, churn: str, finished: Any) -> None:
    run_id, record = finished
    site.go_to_task(churn, run_id, "train")
    expect(site.page.get_by_text("outputs/model.json: y = ")).to_be_visible()
    shown = site.page.locator("body").inner_text()
    lines = [
        f"Run {record['run_id']} was accepted by gpu1",
        "200 rows, squared loss, learning rate 0.01",
        *(f"epoch {epoch}: rmse " for epoch in range(1, 6)),
        "outputs/model.json: y = ",
    ]
    places = [shown.find(line) for line in lines]
    assert -1 not in places, lines[places.index(-1)]
    assert places == sorted(places)
    site.picture("task-log")


def test_the_run_record_stands_under_its_keys_as_xcom(site: Site, churn: str, finished: Any) -> None:
    run_id, record = finished
    site.go_to_task(churn, run_id, "train", "xcom")
    for key in ("return_value", *record):
        expect(site.page.get_by_role("cell", name=key, exact=True)).to_be_visible()
    expect(site.page.get_by_role("row").filter(has_text="Completed")).to_contain_text("status")
    site.button("Expand all extra JSON").click()
    metrics = site.page.get_by_role("row").filter(has=site.page.get_by_role("cell", name="metrics", exact=True))
    outputs = site.page.get_by_role("row").filter(has=site.page.get_by_role("cell", name="outputs", exact=True))
    outputs.scroll_into_view_if_needed()
    expect(metrics).to_contain_text(re.compile(rf'"rmse":\s*{record["metrics"]["rmse"]}'))
    expect(outputs).to_contain_text("model.json")
    site.picture("task-xcom")


def test_a_task_links_to_its_runs_folder_and_its_commit(
    site: Site, airflow: AirflowServices, churn: str, finished: Any
) -> None:
    run_id, record = finished
    site.go_to_task(churn, run_id, "train", "details")
    folder = f"experiments/{record['experiment']}/{record['run_id']}"
    expect(site.page.get_by_role("link", name="Run folder", exact=True)).to_have_attribute(
        "href", f"https://files.example.com/scriptrun/{folder}/"
    )
    assert (airflow.home / "scriptrun" / folder / "run.log").is_file()
    expect(site.page.get_by_role("link", name="Commit", exact=True)).to_have_attribute(
        "href", f"{REPOSITORY}/commit/{record['git']['commit']}"
    )
    site.picture("task-links")


def test_the_rendered_configuration_is_json_without_secrets(site: Site, churn: str, finished: Any) -> None:
    run_id, _ = finished
    site.go_to_task(churn, run_id, "train", "rendered_templates")
    rows = site.page.get_by_role("row")
    config = rows.filter(has=site.page.get_by_role("cell", name="config", exact=True))
    expect(config).to_contain_text("train.py")
    document = json.loads(config.evaluate(WITHOUT_LINE_NUMBERS))
    assert (document["script"], document["tags"]) == ("train.py", {"team": "retention"})
    assert set(document["secret_variables"]) == {"REGISTRY_TOKEN"}
    arguments = rows.filter(has=site.page.get_by_role("cell", name="arguments", exact=True))
    assert json.loads(arguments.evaluate(WITHOUT_LINE_NUMBERS))[:4] == ["--learning-rate", "0.01", "--epochs", "5"]
    site.picture("task-rendered")
    for tab in ("rendered_templates", "xcom", "details", ""):
        site.go_to_task(churn, run_id, "train", tab)
        expect(site.page.get_by_text("ScriptRunOperator").first).to_be_visible()
        assert SECRET not in site.page.content()
