"""A machine over SSH of a benchmark's own: a private sshd, a user there, and a link whose round trip can be set."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from airflow_provider.scriptrun import ScriptRunConfig
from airflow_provider.scriptrun.runs.run import Run
from airflow_provider.scriptrun.runs.surroundings import ConnectionFields
from airflow_provider.scriptrun.targets.registry import open_target
from benchmarks import trees
from benchmarks.place import Place, place, workbench
from tests.network.host import Host
from tests.network.proxy import DelayingProxy
from tests.network.sshd import Sshd

#: The round trips that everything is measured at.
ROUND_TRIPS_S = (0.0, 0.03)
#: The connections: ours, and the one that Airflow's own operators read, in its environment.
OURS, PEERS = "vm", "peers"
SCRIPT = "hello.py"
#: Until file times are old enough for everybody to trust them.
SETTLE_S = 0.2


@dataclass(frozen=True)
class Machine:
    """The other machine, and what is submitted to it.

    :param here: the surroundings; its connection ``vm`` leads there, to the root that ``use_root`` said last.
    :param host: how a peer gets there, over the same link.
    :param folder: a folder there that the user may write to, on a tmpfs where there is one.
    """

    here: Place
    host: Host
    link: DelayingProxy
    folder: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def new_folder(self) -> Path:
        """Return a folder there that is empty and the user's."""
        made = self.folder / str(next(self._numbers))
        made.mkdir()
        os.chown(made, self.host.user_id, self.host.group_id)
        return made

    def use_root(self, root: Path, *, is_installed: bool = True) -> Path:
        """Have our connection lead to ``root``, by default with a supervisor that is there already."""
        document = self.host.connection(root=str(root))
        self.here.connections[OURS] = ConnectionFields(
            OURS, document["conn_type"], document["host"], document["port"], document["login"], None, None,
            document["extra"],
        )  # fmt: skip
        if is_installed:
            with open_target(OURS, self.here) as target:
                target.host()
        return root

    def submit(self, source: Path, script: str = SCRIPT) -> tuple[Run, float]:
        """Return a run and how many milliseconds it took until it was accepted."""
        config = ScriptRunConfig(str(source), script=script, compute_target=OURS)
        begun = time.perf_counter()
        run = self.here.experiment.submit(config)
        return run, (time.perf_counter() - begun) * 1000

    def finish(self, run: Run) -> None:
        """Wait for the run's end, so that nothing of it goes on, and remove its working copy."""
        run.watch()
        run.close()
        root = self.here.connections[OURS].extra["root"]
        shutil.rmtree(Path(root) / "runs" / run.id / "code")

    def tree(self, tree: trees.Tree) -> tuple[Path, list[Path]]:
        """Return a generated tree with a script in it, and its files, old enough to be trusted."""
        folder = self.here.base_directory / tree.name
        files = trees.make(folder, tree)
        (folder / SCRIPT).write_text("print('hello')\n")
        time.sleep(SETTLE_S)
        return folder, files


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """Hand over another machine; everything of it goes at the end."""
    with (
        place() as here,
        tempfile.TemporaryDirectory(prefix="scriptrun-bench-", dir=workbench()) as folder,
        Sshd(own_network=False) as server,
        DelayingProxy(server) as link,
        _airflow_without_words(here.base_directory / "airflow"),
    ):
        os.chmod(folder, 0o711)  # the user has to get through
        known_hosts = here.base_directory / "known_hosts"
        known_hosts.write_text(f"[{link.address}]:{link.port} {server.host_key}\n")
        host = replace(server.host, address=link.address, port=link.port, known_hosts=str(known_hosts))
        os.environ[f"AIRFLOW_CONN_{PEERS.upper()}"] = json.dumps(host.connection("ssh", root=None))
        yield Machine(here, host, link, Path(folder))


@contextlib.contextmanager
def _airflow_without_words(home: Path) -> Iterator[None]:
    """Keep what Airflow writes when it is imported away from the user's own, and its lines off the table."""
    home.mkdir()
    os.environ |= {"AIRFLOW_HOME": str(home), "AIRFLOW__LOGGING__LOGGING_LEVEL": "CRITICAL"}
    for name in ("paramiko", "asyncssh"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    yield


def medians(rounds: int, *ways: Callable[[], float]) -> list[float]:
    """Go all ways in turns, and return the median of what each said: milliseconds, since they time themselves."""
    said = [[way() for way in ways] for _ in range(rounds)]
    return [statistics.median(values) for values in zip(*said, strict=True)]


def timed(work: Callable[[], Any]) -> float:
    """Return how many milliseconds it took."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000
