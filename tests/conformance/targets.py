"""The targets that the suite holds to the contract. A new target joins by one entry in ``TARGETS``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider.scriptrun.targets.contract import ComputeTarget


class Place(ABC):
    """A target with a root of its own, and a way to look at its host that does not go through the target."""

    root: str  #: on the target's host
    inherits_from_worker = False  #: whether its own environment is (a part of) ours

    @abstractmethod
    def open(self, *, host_id: str | None = None, version: str | None = None) -> ComputeTarget:
        """Return a new target object that knows nothing but where the target is."""

    @abstractmethod
    def run(self, *argv: str, check: bool = True) -> bytes:
        """Run a command on the target's host, as the user who runs the scripts; return what it printed."""

    @abstractmethod
    def document(self) -> str:
        """Return what :func:`find_place` needs to find this place again in another process."""

    @abstractmethod
    def remove(self) -> None:
        """Remove the root. Nothing of it runs any more."""

    def fifo(self, name: str) -> str:
        """Make a FIFO on the host and return its path: a script that opens it waits until :meth:`let_go`."""
        path = f"{self.root}.{name}"
        self.run("mkfifo", path)
        return path

    def let_go(self, fifo: str) -> None:
        """Let a script go on that reads from ``fifo``; it may come to it later."""
        self.run("timeout", "30", "sh", "-c", ': > "$0"', fifo)


class LocalPlace(Place):
    """This host."""

    inherits_from_worker = True

    def __init__(self, root: str | None = None) -> None:
        self.root = root or os.path.join(tempfile.mkdtemp(prefix="scriptrun-"), "root")

    def open(self, *, host_id: str | None = None, version: str | None = None) -> ComputeTarget:
        from airflow_provider.scriptrun.targets.local import LocalTarget

        return LocalTarget(self.root, inherit=("INHERITED_*",), host_id=host_id, version=version)

    def run(self, *argv: str, check: bool = True) -> bytes:
        return subprocess.run(argv, check=check, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout

    def document(self) -> str:
        return json.dumps({"target": "local", "root": self.root})

    def remove(self) -> None:
        shutil.rmtree(Path(self.root).parent)


@dataclass(frozen=True)
class Entry:
    """One target of the suite.

    :param make: makes a place with a fresh root.
    :param find: finds it again by its root, in another process.
    :param needs: components without which it cannot be tested here, see ``tests/components.py``.
    """

    make: Callable[[], Place]
    find: Callable[[str], Place]
    needs: tuple[str, ...] = ()


TARGETS: dict[str, Entry] = {
    "local": Entry(make=LocalPlace, find=LocalPlace),
}


def find_place(document: str) -> Place:
    """Return the place that :meth:`Place.document` describes."""
    values = json.loads(document)
    return TARGETS[values["target"]].find(values["root"])
