"""The form of an SSH connection in the web interface, and its Test button."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from scripts.airflow_home import free_port
from scripts.airflow_services import AirflowServices
from scripts.private_sshd import PrivateSshd
from tests import components
from tests.e2e.browser.connections import check_fields, described, new_connection, press_test, row
from tests.e2e.browser.site import Site
from tests.e2e.lane import E2E

pytestmark = [*E2E, pytest.mark.needs("chromium")]

KIND = described("scriptrun_ssh")
#: Airflow's own fields, which it has for every type of connection, and what they are called in ours.
STANDARD = {"host": "Host", "port": "Port", "login": "User", "password": "Password"}


@pytest.fixture
def connection_id(airflow: AirflowServices) -> Iterator[str]:
    """The id of a connection that is gone afterwards."""
    yield "gpu1"
    known = {found["connection_id"] for found in airflow.api("GET", "/connections")["connections"]}
    if "gpu1" in known:
        airflow.api("DELETE", "/connections/gpu1")


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the host keeps everything: a short path, which a picture shows."""
    return tmp_path_factory.mktemp("gpu1") / "scriptrun"


def test_the_form_of_an_ssh_connection_has_the_fields_that_the_provider_describes(
    site: Site, connection_id: str
) -> None:
    form = new_connection(site, KIND, connection_id)
    placeholders = KIND["ui-field-behaviour"]["placeholders"]
    for name, label in STANDARD.items():
        expect(form.field(label).locator("input")).to_have_attribute("placeholder", placeholders[name])
    assert form.field("Login").count() == 0, "it is called User"
    assert form.field("Schema").count() == 0, "it is hidden"
    site.picture("connection-form")
    check_fields(form, KIND["conn-fields"])


def test_a_connection_that_was_filled_in_is_saved_and_tested(
    site: Site, airflow: AirflowServices, server: PrivateSshd, connection_id: str, root: Path
) -> None:
    form = new_connection(site, KIND, connection_id)
    form.text("Description").fill("Two GPUs, for the retention team")
    form.text("Host").fill("127.0.0.1")
    form.number("Port").fill(str(server.port))
    form.text("User").fill(server.user)
    form.open_section("Key")
    form.text("Private key").fill(server.client_key)
    form.open_section("Host key check")
    form.text("Host key").fill(server.host_key)
    form.open_section("Runs there")
    form.text("Root directory").fill(str(root))
    form.text("Python interpreter").fill(components.system_python())
    form.number("Runs at once").fill("2")
    form.submit("Save")
    expect(row(site, connection_id)).to_contain_text("scriptrun_ssh")

    saved = airflow.api("GET", f"/connections/{connection_id}")
    assert (saved["host"], saved["port"], saved["login"]) == ("127.0.0.1", server.port, server.user)
    assert server.client_key.splitlines()[1] not in str(saved)
    answer = press_test(site, connection_id)
    assert answer["status"], answer
    assert f"root {root} on" in answer["message"]
    said = site.page.get_by_role("status").filter(has_text="Test Connection Successful")
    expect(said).to_contain_text(answer["message"])
    site.picture("connection-test")


def test_the_test_button_says_what_is_wrong_and_an_edited_connection_keeps_its_key(
    site: Site, airflow: AirflowServices, server: PrivateSshd, connection_id: str, root: Path
) -> None:
    form = new_connection(site, KIND, connection_id)
    form.text("Host").fill("127.0.0.1")
    closed = free_port()
    form.number("Port").fill(str(closed))
    form.text("User").fill(server.user)
    form.open_section("Key")
    form.text("Private key").fill(server.client_key)
    form.open_section("Host key check")
    form.text("Host key").fill(server.host_key)
    form.open_section("Runs there")
    form.text("Root directory").fill(str(root))
    form.text("Python interpreter").fill(components.system_python())
    form.submit("Save")
    answer = press_test(site, connection_id)
    assert not answer["status"]
    assert f"No SSH connection to {server.user}@127.0.0.1:{closed} can be made" in answer["message"]
    said = site.page.get_by_role("status").filter(has_text="Test Connection Failed")
    expect(said).to_contain_text(answer["message"])
    site.picture("connection-test-failed")

    row(site, connection_id).get_by_role("button", name="Edit Connection").click()
    form = site.form()
    form.number("Port").fill(str(server.port))
    form.open_section("Key")
    expect(form.text("Private key")).to_have_value("***")
    form.submit("Save")
    expect(row(site, connection_id)).to_contain_text(str(server.port))
    answer = press_test(site, connection_id)
    assert answer["status"], answer
