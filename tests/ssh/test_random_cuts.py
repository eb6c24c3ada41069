"""Whatever breaks between a worker and a host, at whatever moment: one execution, the whole log, the right end."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from tests.network.proxy import DelayingProxy
from tests.network.sshd import Sshd
from tests.ssh import cut_worker

pytestmark = [pytest.mark.needs("sshd"), pytest.mark.crash, pytest.mark.slow]

ROUNDS = 50
#: Another one is another fifty histories.
SEED = 20_261_126
#: A round without any cut takes about a second; one with all of them, some pauses.
PATIENCE_S = 60.0
#: Workers of one round: those that are killed, and one that nobody disturbs.
MAX_WORKERS = 5
LINES = 1000
#: Counts its executions; goes on for about half a second, so that cuts find it running.
SCRIPT = """
import sys, time
count, lines = sys.argv[1:3]
with open(count, "a") as file:
    file.write("x")
for number in range(int(lines)):
    print("line %08d of a log that nobody may lose a byte of" % number)
    if number % 50 == 0:
        sys.stdout.flush()
        time.sleep(0.02)
with open("outputs/model", "wb") as file:
    file.write(bytes(range(256)) * 2048)
"""
LOG = b"".join(b"line %08d of a log that nobody may lose a byte of\n" % number for number in range(LINES))
MODEL = bytes(range(256)) * 2048


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with Sshd(own_network=False) as server:
        yield server


@pytest.fixture
def proxy(server: Sshd) -> Iterator[DelayingProxy]:
    with DelayingProxy(server, 0.005) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def nursery() -> Iterator[Any]:
    """Where workers are forked from: Airflow is imported once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([cut_worker.__name__])
    yield context
    forkserver._forkserver._stop()  # it would outlive the tests that need it


class Round:
    """One run, and the workers that bring it home one after the other."""

    def __init__(self, number: int, folder: Path, server: Sshd, proxy: DelayingProxy, nursery: Any) -> None:
        self.chance = random.Random(SEED + number)
        self._server, self._proxy, self._nursery = server, proxy, nursery
        self._result = folder / f"result{number}.json"
        self.run_id = f"cuts_{SEED}_{number}_{os.getpid()}"
        self.count = f"{server.host.home}/{self.run_id}.count"
        source = folder / "source"
        source.mkdir(exist_ok=True)
        (source / "main.py").write_text(SCRIPT)
        (source / "data.bin").write_bytes(self.chance.randbytes(400_000))  # so that something is sent each time
        connection = server.host.connection(
            via=proxy, host_key=None, no_host_key_check=True, root=f"{server.host.home}/root{number // 10}"
        )
        variables = {
            "AIRFLOW_CONN_VM": json.dumps(connection),
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/not_there.db",
            "HOME": str(folder),
        }
        self.workspace = folder / "workspace"
        self._work = (
            *(str(source), str(self.workspace), self.run_id, [self.count, str(LINES)], str(self._result), variables),
        )
        self.history: list[str] = []

    def play(self) -> dict[str, Any]:
        """Cut at random until the run is home; return its record."""
        for attempt in range(MAX_WORKERS):
            worker = self._nursery.Process(target=cut_worker.work, args=self._work)
            worker.start()
            self.history.append(f"worker {attempt + 1}")
            if attempt < MAX_WORKERS - 1:
                for _ in range(self.chance.randint(1, 3)):
                    worker.join(self.chance.uniform(0.0, 0.7))
                    if not worker.is_alive():
                        break
                    self._cut(worker)
            worker.join(PATIENCE_S)
            assert not worker.is_alive(), self.history
            if self._result.exists():
                outcome = json.loads(self._result.read_text())
                assert "record" in outcome, (self.history, outcome)
                return dict(outcome["record"])
        raise AssertionError(f"no worker brought the run home: {self.history}")

    def _cut(self, worker: Any) -> None:
        kind = self.chance.choice(("drop", "cut up", "cut down", "sessions", "server", "worker", "worker"))
        self.history.append(kind)
        if kind == "drop":
            self._proxy.drop()
        elif kind == "cut up":
            self._proxy.cut("up", self.chance.randint(1, 300_000))
        elif kind == "cut down":
            self._proxy.cut("down", self.chance.randint(1, 60_000))
        elif kind == "sessions":
            self._server.kill_connections()
        elif kind == "server":
            self._server.halt()
            time.sleep(self.chance.uniform(0.0, 0.2))
            self._server.restart()
        else:
            worker.kill()

    def assert_whole(self, record: dict[str, Any]) -> None:
        assert record["status"] == "Completed", (self.history, record)
        assert Path(self.count).read_text() == "x", self.history
        folder = self.workspace / "experiments" / cut_worker.EXPERIMENT / self.run_id
        assert hashlib.sha256((folder / "run.log").read_bytes()).digest() == hashlib.sha256(LOG).digest(), self.history
        assert (folder / "outputs" / "model").read_bytes() == MODEL, self.history


@pytest.mark.timeout(600)
def test_cuts_at_any_moment_cost_no_run_its_one_execution_its_log_or_its_end(
    tmp_path: Path, server: Sshd, proxy: DelayingProxy, nursery: Any
) -> None:
    cuts = 0
    for number in range(ROUNDS):
        round_ = Round(number, tmp_path, server, proxy, nursery)
        round_.assert_whole(round_.play())
        proxy.cut("up", None)
        proxy.cut("down", None)
        cuts += sum(not what.startswith("worker ") for what in round_.history)
    assert cuts > ROUNDS, "fewer cuts than rounds prove little"
