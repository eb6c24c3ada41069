"""One process of a service and whatever it starts: started, stopped, killed, frozen, by itself. Linux only."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

#: How long a process has to end before it is killed.
STOP_TIMEOUT_SECONDS = 20.0
_PAUSE_SECONDS = 0.05


class Service:
    """A named program that runs in a session of its own, so that what it started is known as its own.

    :param log: where it writes, after what earlier processes of the same service wrote.
    :param stop_signal: what asks it to end.
    :param options: more of ``subprocess.Popen``'s: as whom it runs.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.command, self.environment = name, list(command), dict(environment)
        self.folder, self.log, self._options = folder, log, dict(options or {})
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its first process. Raises ``RuntimeError`` where it was not started."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its first process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How its first process ended; ``None`` while it runs, or where it was not started."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.is_running:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log, uninterrupted():
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **self._options,
            )  # fmt: skip

    def ask_to_stop(self) -> None:
        """Send its first process the signal to end, as whoever runs services does."""
        if self._process is not None:
            self._process.send_signal(self._stop_signal)

    def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """Ask it to stop, wait, and kill what is left of it."""
        self.thaw()
        self.ask_to_stop()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_seconds)
        self.kill()

    def kill(self, *, alone: bool = False) -> None:
        """Kill all its processes at once, as when their machine dies; ``alone``: the first process only."""
        if self._process is None:
            return
        if alone:
            self._process.kill()
            self._process.wait()
            return
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while (left := processes_of(self._process.pid)) and time.monotonic() < deadline:
            _signal(left, signal.SIGKILL)
            self._process.poll()  # the first one is ours to bury
            time.sleep(_PAUSE_SECONDS)
        self._process.wait()

    def freeze(self) -> None:
        """Stop all its processes where they are: to everybody else it looks dead."""
        _signal(processes_of(self.pid), signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after :meth:`freeze`."""
        if self._process is not None:
            _signal(processes_of(self._process.pid), signal.SIGCONT)

    def processes(self) -> list[int]:
        """Return the ids of its living processes, the first one's among them."""
        return [] if self._process is None else processes_of(self._process.pid)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no SIGINT or SIGTERM come between the start of a process and the note of it; they are heeded right behind.

    They are caught and not blocked: the new process would inherit that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for came_number in came:
        signal.raise_signal(came_number)


def processes_of(session: int) -> list[int]:
    """Return the ids of the living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return sorted(found)


def _signal(processes: Sequence[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
