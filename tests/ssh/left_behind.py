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
    """Return the processes of the host's user that have the id in their command, environment or working directory."""
    return processes.naming(run_id, server.host.user_id)


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
