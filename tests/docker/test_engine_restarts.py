"""An engine that is stopped, killed, or goes with its machine while a run goes on: one execution, and a clear end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider.scriptrun.errors import RunLostError
from tests import components
from tests.docker.engine import PrivateEngine
from tests.docker.site import NAME, EngineSite, forge_boot
from tests.ssh.worker import Worker

pytestmark = [pytest.mark.needs("private engine"), pytest.mark.slow]

AWAY = "The run goes on; trying again"


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    return Worker(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def plain_engine(base_image_name: str) -> Iterator[PrivateEngine]:
    """An engine whose containers end with it."""
    components.require("private engine")
    with PrivateEngine(load=[base_image_name]) as engine:
        yield engine


@pytest.fixture(scope="module")
def lasting_engine(base_image_name: str) -> Iterator[PrivateEngine]:
    """An engine with live-restore, whose containers outlive it."""
    components.require("private engine")
    with PrivateEngine(load=[base_image_name], live_restore=True) as engine:
        yield engine


@pytest.fixture
def site(plain_engine: PrivateEngine, worker: Worker, tmp_path: Path, base_image_name: str) -> Iterator[EngineSite]:
    site = EngineSite(plain_engine, worker, tmp_path, base_image_name)
    yield site
    site.remove()


@pytest.fixture
def lasting(
    lasting_engine: PrivateEngine, worker: Worker, tmp_path: Path, base_image_name: str
) -> Iterator[EngineSite]:
    site = EngineSite(lasting_engine, worker, tmp_path, base_image_name)
    yield site
    site.remove()


def test_a_run_goes_on_while_an_engine_with_live_restore_is_stopped_and_started(lasting: EngineSite) -> None:
    run = lasting.gated()
    lasting.engine.stop()
    run.watching.heard(AWAY)
    lasting.engine.start()
    run.let_go()
    run.assert_whole()


def test_a_run_that_ends_while_an_engine_with_live_restore_is_away_is_collected_afterwards(lasting: EngineSite) -> None:
    run = lasting.gated()
    lasting.engine.kill()
    run.watching.heard(AWAY)
    run.let_go()
    lasting.engine.start()
    run.assert_whole()


def test_what_a_run_left_that_nobody_saw_end_goes_with_the_next_start(lasting: EngineSite) -> None:
    unseen = lasting.worker.submit({"main.py": ""}, target=NAME)
    (container,) = lasting.containers("run")
    client = lasting.engine.client()
    client.containers.get(container).wait()
    client.close()
    run = lasting.gated()
    assert container not in lasting.containers("run")
    run.let_go()
    run.assert_whole()
    unseen.close()


def test_a_run_ends_with_an_engine_that_is_stopped_and_the_next_one_starts_anew(site: EngineSite) -> None:
    run = site.gated()
    site.engine.stop()
    run.watching.heard(AWAY)
    site.engine.start()
    run.assert_lost("Its container was stopped: with docker stop, or with the engine or its machine")
    with pytest.raises(RunLostError, match="Submit it again"):
        run.run.raise_for_status()
    again = site.gated()
    again.let_go()
    again.assert_whole()


def test_a_run_ends_with_an_engine_that_was_killed_once_that_is_back(site: EngineSite) -> None:
    run = site.gated()
    site.engine.kill()
    run.watching.heard(AWAY)
    site.engine.start()
    run.assert_lost("Its container was stopped")
    again = site.gated()
    again.let_go()
    again.assert_whole()


def test_a_run_whose_every_process_dies_with_its_engine_is_lost(site: EngineSite) -> None:
    run = site.gated()
    site.engine.crash()
    run.watching.heard(AWAY)
    site.engine.start()
    run.assert_lost("The run's supervisor was killed while the run was Running")


def test_a_run_on_a_machine_that_was_restarted_is_lost_and_says_so(site: EngineSite) -> None:
    run = site.gated()
    site.engine.crash()
    run.watching.heard(AWAY)
    forge_boot(site, run.run.id)
    site.engine.start()
    run.assert_lost("The host was restarted while the run was Running")
    again = site.gated()
    again.let_go()
    again.assert_whole()
