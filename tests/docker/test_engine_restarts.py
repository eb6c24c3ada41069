"""An engine that is stopped, killed, or goes with its machine while a run goes on: one execution, and a clear end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_provider.scriptrun import CondaDependencies, Environment
from airflow_provider.scriptrun.errors import RunLostError
from airflow_provider.scriptrun.targets import session
from airflow_provider.scriptrun.targets.docker import engine as target_engine
from airflow_provider.scriptrun.targets.docker import raw_http
from airflow_provider.scriptrun.targets.docker.package_image import PackageImages
from tests import components
from tests.docker import index
from tests.docker.disk import containers
from tests.docker.engine import PrivateEngine
from tests.docker.package_index import PackageIndex
from tests.docker.site import NAME, EngineSite, forge_boot
from tests.ssh.watched import PATIENCE_S, Watching
from tests.ssh.worker import Worker

pytestmark = [pytest.mark.needs("private engine"), pytest.mark.slow, pytest.mark.xdist_group("engine_restarts")]

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
    plain_engine.revive()
    site = EngineSite(plain_engine, worker, tmp_path, base_image_name)
    yield site
    site.remove()


@pytest.fixture
def lasting(
    lasting_engine: PrivateEngine, worker: Worker, tmp_path: Path, base_image_name: str
) -> Iterator[EngineSite]:
    lasting_engine.revive()
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
    unseen = lasting.worker.submit({"main.py": "import time; time.sleep(5)"}, target=NAME)
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
    site.engine.restart()  # it lets the run end before it goes: that may be seen, and collected, before or after
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


def test_an_engine_that_says_nothing_costs_the_run_nothing(site: EngineSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "PATIENCE_S", 1.0)
    monkeypatch.setattr(raw_http, "HEAD_PATIENCE_S", 1.0)
    monkeypatch.setattr(target_engine, "PATIENCE_S", 1.0)
    monkeypatch.setenv("AIRFLOW__SCRIPTRUN__POLL_WAIT_SECONDS", "1")
    run = site.gated()
    site.engine.freeze()
    run.watching.heard("did not answer for")
    run.watching.heard("could not be asked for")
    site.engine.thaw()
    run.let_go()
    run.assert_whole()


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[PackageIndex]:
    """An index that lets nobody have a package yet."""
    with PackageIndex(tmp_path / "index", {"alpha": "1.0"}) as packages:
        packages.gate.clear()
        yield packages


class Building:
    """A run whose environment is about to be built, submitted in a thread.

    :param environment: default: the package ``alpha``.
    """

    def __init__(self, site: EngineSite, packages: PackageIndex, environment: Environment | None = None) -> None:
        site.connect(network=index.NETWORK, index_url=packages.url)
        if environment is None:
            environment = Environment("alpha")
            environment.python.conda_dependencies = CondaDependencies.create(pip_packages=["alpha"])
        self._site, self._environment = site, environment
        self._pool = ThreadPoolExecutor(1)
        self._record = self._pool.submit(self.record)
        assert packages.reached.wait(PATIENCE_S)

    def record(self) -> dict[str, Any]:
        """Submit it and follow it to its end."""
        run = self._site.worker.submit({"main.py": "import alpha"}, target=NAME, environment=self._environment)
        return Watching(run).record()

    def end(self) -> dict[str, Any]:
        """Return the record of the first one."""
        try:
            return self._record.result(PATIENCE_S)
        finally:
            self._pool.shutdown()


def test_a_build_goes_on_while_an_engine_with_live_restore_is_away(lasting: EngineSite, packages: PackageIndex) -> None:
    building = Building(lasting, packages)
    lasting.engine.restart()
    packages.gate.set()
    record = building.end()
    assert record["status"] == "Completed", record
    assert packages.wheels == ["alpha-1.0-py3-none-any.whl"]
    assert lasting.containers("build") == []


def test_a_build_ends_with_its_engine_and_the_next_run_builds_anew(site: EngineSite, packages: PackageIndex) -> None:
    building = Building(site, packages)
    site.engine.restart()
    record = building.end()
    assert (record["status"], record["reason"]) == ("Failed", "lost"), record
    assert "Its container was stopped" in record["message"]
    assert site.containers("build") == []
    packages.gate.set()
    again = building.record()
    assert again["status"] == "Completed", again


def killed(engine: PrivateEngine) -> None:
    """Kill it and start it anew. It leaves the container of a Dockerfile's step then, which has no label of ours."""
    engine.kill()
    engine.start()


@pytest.mark.parametrize("cut", [PrivateEngine.restart, killed])
def test_a_dockerfile_whose_engine_goes_in_the_middle_is_built_by_the_same_submission(
    cut: Callable[[PrivateEngine], None], site: EngineSite, packages: PackageIndex, base_image_name: str
) -> None:
    before = containers(site.engine)
    wheel = f"{packages.url}/alpha/alpha-1.0-py3-none-any.whl"
    step = f"from urllib.request import urlopen as o; open('/alpha.py', 'wb').write(o('{wheel}').read()[:0])"
    dockerfile = f'FROM {base_image_name}\nENV PYTHONPATH=/\nRUN python3 -c "{step}"\n'
    building = Building(site, packages, Environment.from_dockerfile("alpha", dockerfile))
    cut(site.engine)
    packages.gate.set()
    record = building.end()
    assert record["status"] == "Completed", record
    for kind in ("run", "build"):
        site.until_none(kind)
    if cut is not killed:
        assert containers(site.engine) == before


def test_an_engine_that_takes_long_to_make_a_large_image_is_waited_for(
    site: EngineSite, packages: PackageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment is that of ``PackageImages._commit``: nothing is said until all is copied."""
    monkeypatch.setattr(target_engine, "PATIENCE_S", 5.0)
    commit = PackageImages._commit

    def slowly(*arguments: Any) -> None:
        site.engine.freeze()
        thaw = threading.Timer(8.0, site.engine.thaw)
        thaw.start()
        try:
            commit(*arguments)
        finally:
            thaw.join()

    monkeypatch.setattr(PackageImages, "_commit", slowly)
    building = Building(site, packages)
    packages.gate.set()
    record = building.end()
    assert record["status"] == "Completed", record
    assert packages.wheels == ["alpha-1.0-py3-none-any.whl"], "it was built once"
