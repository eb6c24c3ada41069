"""The form of a connection to a Docker engine in the web interface, and its Test button on the machine's engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from scripts.airflow_services import AirflowServices
from tests.docker.registry import PASSWORD, USER, ImageRegistry
from tests.e2e.browser.connections import check_fields, described, new_connection, press_test, row
from tests.e2e.browser.site import Site
from tests.e2e.lane import E2E

pytestmark = [*E2E, pytest.mark.needs("chromium", "docker", "image registry")]

KIND = described("scriptrun_docker")
#: Airflow's own fields, which it has for every type of connection, and what they are called in ours.
STANDARD = {"host": "Engine", "port": "Port", "login": "Registry user", "password": "Registry password"}


@pytest.fixture
def connection_id(airflow: AirflowServices) -> Iterator[str]:
    """The id of a connection that is gone afterwards."""
    yield "engine1"
    known = {found["connection_id"] for found in airflow.api("GET", "/connections?limit=100")["connections"]}
    if "engine1" in known:
        airflow.api("DELETE", "/connections/engine1")


def test_an_engine_is_described_saved_and_tested(
    site: Site, airflow: AirflowServices, connection_id: str, engine: str, store: str, base_image_name: str,
    image_registry: ImageRegistry,
) -> None:  # fmt: skip
    form = new_connection(site, KIND, connection_id)
    for name, label in STANDARD.items():
        placeholder = KIND["ui-field-behaviour"]["placeholders"].get(name)
        if placeholder is not None:
            expect(form.field(label).locator("input")).to_have_attribute("placeholder", placeholder)
    assert form.field("Schema").count() == 0, "it is hidden"
    form.text("Engine").fill(engine)
    # Airflow 3.3.2 tests no saved connection without a port (https://github.com/apache/airflow/pull/73298); with a
    # socket, what is written is not used
    form.number("Port").fill("2376")
    form.text("Registry user").fill(USER)
    form.text("Registry password").fill(PASSWORD)
    check_fields(form, KIND["conn-fields"])
    form.open_section("Registry")
    form.text("Registry").fill(image_registry.address)
    form.open_section("Images")
    form.text("Base image").fill(base_image_name)
    form.open_section("Runs there")
    form.text("Volume").fill(store)
    form.submit("Save")
    expect(row(site, connection_id)).to_contain_text("scriptrun_docker")

    saved = airflow.api("GET", f"/connections/{connection_id}")
    assert (saved["host"], saved["login"]) == (engine, USER)
    assert PASSWORD not in str(saved)
    answer = press_test(site, connection_id)
    assert answer["status"], answer
    assert f"registry {image_registry.address} lets the user {USER} in." in answer["message"]
    assert f"base image {base_image_name} is there." in answer["message"]
    said = site.page.get_by_role("status").filter(has_text="Test Connection Successful")
    expect(said).to_contain_text(answer["message"])

    row(site, connection_id).get_by_role("button", name="Edit Connection").click()
    form = site.form()
    form.text("Engine").fill(f"unix://{airflow.home}/nothing.sock")
    form.submit("Save")
    expect(row(site, connection_id)).to_contain_text("nothing.sock")
    answer = press_test(site, connection_id)
    assert not answer["status"]
    assert "No Docker engine answers at" in answer["message"]
    said = site.page.get_by_role("status").filter(has_text="Test Connection Failed")
    expect(said).to_contain_text(answer["message"])
