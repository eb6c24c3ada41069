"""A headless Chromium that is logged in to the Airflow of the end-to-end tests, and the host that its forms name."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, StorageState, expect, sync_playwright

from scripts.airflow_services import AirflowServices
from scripts.private_sshd import PrivateSshd
from tests import components
from tests.e2e.browser.site import Site

#: How long a page may take to show what is waited for; the machine may be busy.
PATIENCE_MS = 120_000
SIZE = {"width": 1280, "height": 900}
#: Nothing but loopback is asked, and no proxy; a browser for one test has nothing to sandbox.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--no-first-run",
    "--no-proxy-server",
)
#: Names the folder where the documentation keeps its pictures: ``make screenshots`` sets it.
PICTURES = "SCRIPTRUN_SCREENSHOTS"
#: The password that the example's configuration refers to, and that must be seen nowhere.
SECRET = "7hL-registry-pw-0pen"
REPOSITORY = "https://github.com/example/churn"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser. One for each module: while it is there, its event loop is in the way of other tests' loops."""
    home = {**os.environ, "HOME": str(tmp_path_factory.mktemp("browser"))}
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=components.find_chromium(), args=FLAGS, env=home)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def login(chromium: Browser, airflow: AirflowServices) -> StorageState:
    """What a browser keeps of having logged in."""
    airflow.wait_until_healthy()
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(airflow.url)
    user, password = airflow.login
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("link", name="Dags", exact=True)).to_be_visible()
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def site(chromium: Browser, airflow: AirflowServices, login: StorageState, tmp_path: Path) -> Iterator[Site]:
    """Airflow's web interface, logged in."""
    context = chromium.new_context(storage_state=login, viewport=SIZE, locale="en-US", timezone_id="UTC")  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    folder = os.environ.get(PICTURES)
    yield Site(page, airflow.url, tmp_path, Path(folder) if folder else None)
    context.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Keep what the browser showed when a test failed."""
    report = yield
    site = getattr(item, "funcargs", {}).get("site")
    if report.failed and call.when == "call" and site is not None:
        try:
            report.sections.append(("Browser", site.evidence()))
        except Error as error:
            report.sections.append(("Browser", f"it cannot show anything any more: {error}"))
    return report


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateSshd]:
    """An SSH server: the host of the connections that the forms name."""
    with PrivateSshd(tmp_path_factory.mktemp("host")).running() as server:
        yield server


@pytest.fixture(scope="module")
def churn(airflow: AirflowServices, server: PrivateSshd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The DAG with the form, in a Git repository, with the connections that it names; its id."""
    _commit(airflow.dags_folder / "churn")
    extra = {
        "private_key": server.client_key,
        "host_key": server.host_key,
        "root": str(tmp_path_factory.mktemp("gpu1")),
        "interpreter": components.system_python(),
    }
    connections = {
        "gpu1": {"conn_type": "scriptrun_ssh", "host": "127.0.0.1", "port": server.port, "login": server.user},
        "model_registry": {"conn_type": "http", "password": SECRET},
    }
    connections["gpu1"]["extra"] = json.dumps(extra)
    for name, document in connections.items():
        airflow.api("POST", "/connections", {"connection_id": name, **document})
    airflow.until(lambda: "churn" in _served(airflow), PATIENCE_MS / 1000, "the DAG churn did not appear")
    yield "churn"
    for name in connections:
        airflow.api("DELETE", f"/connections/{name}")


def _served(airflow: AirflowServices) -> set[str]:
    return {dag["dag_id"] for dag in airflow.api("GET", "/dags?limit=100")["dags"]}


def _commit(folder: Path) -> None:
    if (folder / ".git").exists():
        return
    person = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    for arguments in (
        ["init", "--quiet", "--initial-branch=main"],
        ["remote", "add", "origin", f"{REPOSITORY}.git"],
        ["add", "."],
        [*person, "commit", "--quiet", "--message=First"],
    ):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)
