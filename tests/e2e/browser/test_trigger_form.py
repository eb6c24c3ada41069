"""A DAG that is triggered from the form which ``script_run_params`` makes, and triggered again."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from scripts.airflow_services import AirflowServices
from tests.e2e.browser.site import Site
from tests.e2e.lane import E2E, PATIENCE_SECONDS

pytestmark = [*E2E, pytest.mark.needs("chromium")]


def test_a_dag_is_triggered_with_what_was_filled_into_its_form(
    site: Site, airflow: AirflowServices, churn: str
) -> None:
    site.go(f"/dags/{churn}")
    site.page.get_by_role("button", name="Trigger").click()
    form = site.form()
    expect(form.choice("Compute target")).to_be_visible()
    assert form.options("Compute target") == ["local", "gpu1"]
    expect(form.number("Learning rate")).to_have_value("0.01")
    expect(form.field("Learning rate")).to_contain_text("How far each step goes: 0.001 to 1.")
    expect(form.number("Epochs")).to_have_value("6")
    expect(form.field("Epochs")).to_contain_text("The script gets it as --epochs. At least 1 and at most 1000.")
    assert form.options("Loss") == ["squared", "absolute"]

    form.number("Epochs").fill("5000")
    form.number("Learning rate").fill("0.05")
    expect(form.number("Epochs")).to_have_value("1000")
    form.number("Epochs").fill("4")
    form.choose("Loss", "absolute")
    site.picture("trigger-form")
    form.open_section("More")
    form.turn("Shuffle")
    expect(form.switch("Shuffle")).to_be_checked()
    expect(form.field("Note")).to_contain_text("The script gets it as --note; empty: not at all.")
    form.text("Note").fill('it\'s a "first" try & {{ more }}')
    form.submit("Trigger")

    run_id = site.run_shown(churn)
    assert airflow.wait_for_run(churn, run_id, PATIENCE_SECONDS) == "success"
    record = airflow.xcom(churn, run_id, "train")
    assert record["target"]["name"] == "local"
    assert record["command"][1:] == [
        *("train.py", "--learning-rate", "0.05", "--epochs", "4", "--loss", "absolute"),
        *("--shuffle", "--note", 'it\'s a "first" try & {{ more }}'),
    ]


def test_a_run_is_triggered_again_with_its_values_on_another_target(
    site: Site, airflow: AirflowServices, churn: str
) -> None:
    # all of it, as a form sends it: Airflow offers again what the run was given, and nothing else
    given = {"compute_target": "local", "learning_rate": 0.2, "epochs": 3, "loss": "squared", "shuffle": True}
    first = airflow.trigger(churn, {**given, "note": None})
    assert airflow.wait_for_run(churn, first, PATIENCE_SECONDS) == "success"
    site.go(f"/dags/{churn}/runs/{first}")
    site.button("Trigger Dag").click()
    site.page.get_by_role("menuitem", name="Trigger again with this config").click()
    form = site.form()
    expect(form.number("Epochs")).to_have_value("3")
    expect(form.number("Learning rate")).to_have_value("0.2")
    form.choose("Compute target", "gpu1")
    site.picture("trigger-again")
    form.open_section("More")
    expect(form.switch("Shuffle")).to_be_checked()
    form.submit("Trigger")

    again = site.run_shown(churn, other_than=first)
    assert airflow.wait_for_run(churn, again, PATIENCE_SECONDS) == "success"
    here, there = (airflow.xcom(churn, run_id, "train") for run_id in (first, again))
    assert (here["target"]["type"], there["target"]["name"], there["target"]["type"]) == ("local", "gpu1", "ssh")
    assert there["command"][1:] == here["command"][1:]
    assert there["snapshot"]["id"] == here["snapshot"]["id"]
