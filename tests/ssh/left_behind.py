"""What of a run still lives on the host: found by its id, waited for until it is gone."""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress

from tests.network import processes
from tests.network.sshd import Sshd

#: What ends with a run, its supervisor too, is gone by then on a busy machine.
PATIENCE_S = 30.0


def of_run(server: Sshd, run_id: str) -> list[processes.Process]:
    """Return the processes of the host's user that have the id in their command, environment or working directory.

    And those that have a file of the run open: its supervisor is named by nothing else.
    """
    theirs = processes.of_user(server.host.user_id)
    named = {process.pid for process in processes.naming(run_id, server.host.user_id)}
    return [process for process in theirs if process.pid in named or _has_open(process.pid, run_id)]


def _has_open(pid: int, word: str) -> bool:
    with suppress(OSError):  # it is gone
        return any(word in os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd"))
    return False


def assert_nothing_left(server: Sshd, run_id: str) -> None:
    """Wait until nothing of the run lives; what takes too long fails the test."""
    deadline = time.monotonic() + PATIENCE_S
    while left := of_run(server, run_id):
        for process in left:
            _await(process.pid, deadline)
        assert time.monotonic() < deadline, left


def _await(pid: int, deadline: float) -> None:
    """Return when a process has ended, or the time is over."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        finally:
            os.close(descriptor)
