"""A run that is watched as a task does it, in a thread, while a test breaks what is between."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_provider.scriptrun import Run
from tests.network.sshd import Sshd
from tests.runs.fakes import Ears

#: No test here waits longer for a run, on a busy machine.
PATIENCE_S = 120.0
#: Counts its executions, speaks, waits to be let go on (an argument names the FIFO), writes much, leaves outputs.
SCRIPT = """
import os, sys
count, gate, lines = sys.argv[1:4]
with open(count, "a") as file:
    file.write("x")
print("begun", flush=True)
if gate != "-":
    open(gate).read()
for number in range(int(lines)):
    print("line %08d of a log that nobody may lose a byte of" % number)
with open("outputs/model", "wb") as file:
    file.write(bytes(range(256)) * 8192)
"""
MODEL = bytes(range(256)) * 8192


def whole_log(lines: int) -> bytes:
    """Return what the script prints."""
    numbered = (b"line %08d of a log that nobody may lose a byte of\n" % number for number in range(lines))
    return b"begun\n" + b"".join(numbered)


class Site:
    """Where one run's script counts and waits, on the host.

    :param name: tells it from those of other runs there.
    """

    def __init__(self, server: Sshd, name: str, *, gated: bool = False, lines: int = 10) -> None:
        self._server, self.lines = server, lines
        self._count, self._gate = f"{server.host.home}/{name}.count", f"{server.host.home}/{name}.gate"
        if gated:
            server.run("mkfifo", self._gate)
        self.arguments = [self._count, self._gate if gated else "-", str(lines)]

    @property
    def executions(self) -> int:
        """How often the script was executed."""
        path = Path(self._count)
        return len(path.read_text()) if path.exists() else 0

    def let_go(self) -> None:
        """Let the script go on; it may come to it later."""
        self._server.run("timeout", str(PATIENCE_S), "sh", "-c", f": > {self._gate}")

    def assert_whole(self, run: Run, record: Mapping[str, Any]) -> None:
        """One execution, its whole log and its outputs, under a record that says Completed."""
        assert record["status"] == "Completed", record
        assert self.executions == 1
        log = b"".join(run.folder.read("run.log"))
        assert hashlib.sha256(log).digest() == hashlib.sha256(whole_log(self.lines)).digest(), log[-2000:]
        model = b"".join(run.folder.read("outputs/model"))
        assert hashlib.sha256(model).digest() == hashlib.sha256(MODEL).digest()


class Watching:
    """A thread that watches a run to its end and collects it."""

    def __init__(self, run: Run) -> None:
        self.run, self.ears = run, Ears()
        self._record: dict[str, Any] | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._watch, name=f"watching {run.id}")
        self._thread.start()

    def _watch(self) -> None:
        try:
            self.run.watch(self.ears)
            self._record = self.run.collect(reporter=self.ears)
        except BaseException as error:
            self._error = error
        finally:
            self.run.close()

    def heard(self, text: str) -> None:
        """Wait until a line, a note or a warning holds it."""
        self.ears.heard(text, PATIENCE_S)

    def is_watching(self) -> bool:
        """Whether it goes on; raises what ended it too early."""
        if self._error is not None:
            raise self._error
        return self._thread.is_alive()

    def record(self) -> dict[str, Any]:
        """Wait for the end; return the run record, or raise what went wrong."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), f"{self.ears.notes=} {self.ears.warnings=} {self.ears.lines[-3:]=}"
        if self._error is not None:
            raise self._error
        assert self._record is not None
        return self._record
