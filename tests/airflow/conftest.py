"""What the tests of Airflow's edge share."""

from __future__ import annotations

import http.server
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider.scriptrun.runs.host_watches import shared
from airflow_provider.scriptrun.triggers import wait
from airflow_provider.scriptrun.triggers.run_over import ScriptRunTrigger
from tests.airflow.project import Project
from tests.airflow.workers import Nursery, nursery
from tests.supervisor.environment_target import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def one_nursery() -> Iterator[Nursery]:
    with nursery() as started:
        yield started


@pytest.fixture
def workers(one_nursery: Nursery) -> Iterator[Nursery]:
    """Starts workers; kills what is left of them after the test."""
    yield one_nursery
    one_nursery.clear()


@pytest.fixture
def project(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Project]:
    """A DAG folder, a workspace and a target; nothing of them runs after the test.

    Where a test is repeated many times, its target has its supervisor already.
    """
    is_repeated = request.node.get_closest_marker("crash") is not None
    project = Project(tmp_path, tmp_path_factory.getbasetemp() / "target" if is_repeated else None)
    for folder in (project.dags, project.traces, tmp_path / "home"):
        folder.mkdir()
    for name, value in project.variables.items():
        monkeypatch.setenv(name, value)
    yield project
    project.clean_up()


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a browser finds the workspace."""
    monkeypatch.setenv("AIRFLOW__SCRIPTRUN__WORKSPACE_PAGE", "https://files.example.com/scriptrun")
    return "https://files.example.com/scriptrun"


@pytest.fixture
def defers_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tasks that may wait in the triggerer do so at once, and triggers fire as soon as they know."""
    monkeypatch.setenv("AIRFLOW__SCRIPTRUN__DEFER_AFTER_SECONDS", "0")
    monkeypatch.setenv("AIRFLOW__SCRIPTRUN__TRIGGERER_SHARES_HOST", "True")
    monkeypatch.setattr(wait, "SETTLE_SECONDS", 0.0)
    yield
    shared.close()
    if "log" in vars(ScriptRunTrigger):  # a ``Triggerer`` puts its own there
        del ScriptRunTrigger.log


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """The address of a folder with one package, for this machine and whoever else runs on it."""
    make_wheel(tmp_path / "wheels", "alpha", "1.0")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path / "wheels")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()
