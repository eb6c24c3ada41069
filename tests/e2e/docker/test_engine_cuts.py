"""An engine that is killed at any moment of a run's life, from its submission on: one execution, and a right end."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from airflow_provider.scriptrun import DockerConfiguration
from airflow_provider.scriptrun.errors import TargetUnreachableError
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets.docker.containers import Launcher
from airflow_provider.scriptrun.targets.docker.remains import Remains
from tests.docker.engine import PrivateEngine
from tests.docker.site import NAME, EngineSite
from tests.ssh.watched import Watching
from tests.ssh.worker import Worker

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.needs("private engine"), pytest.mark.timeout(900)]

ROUNDS = 8
#: Another one is as many other histories.
SEED = 20_261_127
#: From the submission of a run to its end, where nothing happens.
LIFE_S = 2.0
LINES = 400
#: Counts its executions, and speaks for a while.
SCRIPT = """
import sys, time
count, lines = sys.argv[1:3]
with open(count, "a") as file:
    file.write("x")
for number in range(int(lines)):
    print("line %08d of a log that nobody may lose a byte of" % number, flush=True)
    time.sleep(0.002)
with open("outputs/model", "wb") as file:
    file.write(bytes(range(256)) * 2048)
"""
LOG = b"".join(b"line %08d of a log that nobody may lose a byte of\n" % number for number in range(LINES))


@pytest.fixture(params=[True, False], ids=["with live-restore", "without"])
def engine_of_own(request: pytest.FixtureRequest, base_image_name: str) -> Iterator[PrivateEngine]:
    with PrivateEngine(load=[base_image_name], live_restore=request.param) as engine:
        yield engine


class Life:
    """One run, in a thread, from its submission to its record."""

    def __init__(self, site: EngineSite, number: int) -> None:
        self._site, self._name = site, f"life{number}.count"
        self._pool = ThreadPoolExecutor(1)
        self.is_over = threading.Event()
        self._future = self._pool.submit(self._live)
        self._future.add_done_callback(lambda _: self.is_over.set())

    def _live(self) -> tuple[dict, bytes]:
        run = self._site.worker.submit(
            {"main.py": SCRIPT},
            target=NAME,
            arguments=[f"/site/{self._name}", str(LINES)],
            docker_runtime_config=DockerConfiguration(arguments=["--volume", f"{self._site.folder}:/site"]),
        )
        record = Watching(run).record()
        return record, b"".join(run.folder.read("run.log"))

    @property
    def executions(self) -> int:
        path = self._site.folder / self._name
        return len(path.read_text()) if path.exists() else 0

    def end(self) -> tuple[dict, bytes]:
        """Wait for it; return its record and its log."""
        try:
            return self._future.result()
        finally:
            self._pool.shutdown()


def test_an_engine_that_is_killed_at_any_moment(
    engine_of_own: PrivateEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base_image_name: str
) -> None:
    chance = random.Random(SEED)
    site = EngineSite(engine_of_own, Worker(tmp_path, monkeypatch), tmp_path, base_image_name)
    ends = []
    for number in range(ROUNDS):
        life = Life(site, number)
        life.is_over.wait(chance.uniform(0, LIFE_S))
        engine_of_own.kill()
        time.sleep(chance.uniform(0, 0.5))
        engine_of_own.start()
        record, log = life.end()
        ends.append((record["status"], record["reason"]))
        assert life.executions == 1, (number, record)
        if record["status"] == "Completed":
            assert log == LOG
        else:
            assert record["reason"] == "lost", record
            assert LOG.startswith(log)
    if engine_of_own.is_restoring_live:
        assert set(ends) == {("Completed", None)}
    Life(site, ROUNDS).end()  # takes along what an engine that was killed in the middle of a removal has left
    site.until_none("run")
    site.remove()


def test_a_container_whose_engine_was_killed_before_it_removed_it_goes_with_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base_image_name: str
) -> None:
    """The moment is that of ``Remains._discard``: whoever saw the run's end is about to remove its container."""
    with PrivateEngine(load=[base_image_name], live_restore=True) as engine:
        site = EngineSite(engine, Worker(tmp_path, monkeypatch), tmp_path, base_image_name)

        def killed(*_: object) -> None:
            engine.kill()
            engine.start()
            raise TargetUnreachableError("the engine was killed")

        with monkeypatch.context() as moment:
            moment.setattr(Remains, "_discard", killed)
            record, log = Life(site, 0).end()
        assert (record["status"], log) == ("Completed", LOG)
        (left,) = site.containers("run")
        Life(site, 1).end()
        assert left not in site.containers("run")
        site.until_none("run")
        site.remove()


def test_a_container_whose_engine_was_killed_before_it_got_its_request_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base_image_name: str
) -> None:
    """The moment is that of ``Launcher._hand_over``: the container runs, and reads its standard input."""
    with PrivateEngine(load=[base_image_name], live_restore=True) as engine:
        site = EngineSite(engine, Worker(tmp_path, monkeypatch), tmp_path, base_image_name)

        def killed(*_: object) -> bool:
            engine.kill()
            raise TargetUnreachableError("the engine was killed")

        with site.client() as client:
            request, tree = client.request("print('once')")
            client.target.send(tree)
            with monkeypatch.context() as moment:
                moment.setattr(Launcher, "_hand_over", killed)
                with pytest.raises(TargetUnreachableError):
                    client.submit(request, tree)
            engine.start()
            (waiting,) = site.containers("run")
            followed = client.follow(client.submit(request, tree).run_id)
            assert (followed.end.status, followed.log) == (Status.COMPLETED, b"once\n")
            assert waiting not in site.containers("run")
        site.remove()
