"""Processes of this machine, by user and by parent, as ``/proc`` shows them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: A process that got SIGKILL or SIGSTOP is gone, or stopped, within this time even on a loaded machine.
PATIENCE_S = 20.0
_PAUSE_S = 0.002


@dataclass(frozen=True)
class Process:
    """One line of the table. The state is proc(5)'s letter: ``Z`` is dead, ``T`` is stopped."""

    pid: int
    parent: int
    user_id: int
    name: str
    state: str


def processes() -> list[Process]:
    """Return every process that this user can see; dead ones that nobody waited for are left out."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # it is gone
            before, _, after = Path(entry.path, "stat").read_text().rpartition(")")
            state, parent, *_ = after.split()
            if state not in "ZX":
                name = before.partition("(")[2]
                found.append(Process(int(entry.name), int(parent), entry.stat().st_uid, name, state))
    return found


def of_user(user_id: int) -> list[Process]:
    """Return the processes of a user."""
    return [process for process in processes() if process.user_id == user_id]


def naming(word: str, user_id: int) -> list[Process]:
    """Return the processes of a user whose command, first environment or working directory has a word in it."""
    return [process for process in of_user(user_id) if process.pid != os.getpid() and _names(process, word)]


def _names(process: Process, word: str) -> bool:
    folder = Path(f"/proc/{process.pid}")
    with suppress(OSError):  # it is gone
        texts = (
            (folder / "cmdline").read_bytes(),
            (folder / "environ").read_bytes(),
            os.readlink(folder / "cwd").encode(),
        )
        return any(word.encode() in text for text in texts)
    return False


def below(pid: int) -> list[Process]:
    """Return the children of a process, their children, and so on."""
    table, wanted, found = processes(), {pid}, []
    while children := [process for process in table if process.parent in wanted]:
        found += children
        wanted = {process.pid for process in children}
    return found


def kill(find: Callable[[], Iterable[Process]]) -> None:
    """Kill what ``find`` finds, again and again until it finds nothing: what forks meanwhile is killed too."""
    _signal_until(find, signal.SIGKILL, lambda process: False)


def freeze(find: Callable[[], Iterable[Process]]) -> None:
    """Stop what ``find`` finds until :func:`thaw`; all of it has stopped when this returns."""
    _signal_until(find, signal.SIGSTOP, lambda process: process.state in "Tt")


def thaw(find: Callable[[], Iterable[Process]]) -> None:
    """Let go on what :func:`freeze` stopped."""
    for process in find():
        _send(process, signal.SIGCONT)


def _signal_until(find: Callable[[], Iterable[Process]], number: int, done: Callable[[Process], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while left := [process for process in find() if not done(process)]:
        assert time.monotonic() < deadline, f"signal {number} has no effect on {left}"
        for process in left:
            _send(process, number)
        time.sleep(_PAUSE_S)


def _send(process: Process, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process.pid, number)
