"""A real kill by the kernel's out-of-memory killer, in a memory control group of the test's own."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components import MEMORY_GROUPS
from tests.supervisor.session import Session, Target, wait_until

pytestmark = pytest.mark.needs("memory cgroup")

#: Room for a supervisor and a guard, not for a script that wants four times as much.
LIMIT_BYTES = 128 * 1024 * 1024
GREEDY = f"hoard = []\nwhile len(hoard) < {4 * LIMIT_BYTES >> 20}: hoard.append(bytearray(b'x' * (1 << 20)))"


@pytest.fixture
def group(target: Target) -> Iterator[Path]:
    """A control group with little memory; removed once nothing lives in it."""
    group = MEMORY_GROUPS / f"scriptrun-{uuid.uuid4().hex}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
    yield group
    target.close()
    wait_until(lambda: not (group / "cgroup.procs").read_text().strip(), "the end of the group's processes")
    group.rmdir()


def test_a_script_that_the_kernel_kills_for_memory_is_told_from_other_kills(target: Target, group: Path) -> None:
    session: Session = target.session()
    (group / "cgroup.procs").write_text(str(session.process.pid))

    status = session.run(sys.executable, "-c", GREEDY)

    assert (status["status"], status["reason"], status["signal"]) == ("Failed", "out_of_memory", 9)
    assert "out-of-memory killer ended a process in its control group" in status["message"]


def test_a_kill_by_a_person_is_not_taken_for_one_by_the_kernel(target: Target, group: Path) -> None:
    session: Session = target.session()
    (group / "cgroup.procs").write_text(str(session.process.pid))

    status = session.run(sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")

    assert (status["reason"], status["signal"]) == ("signal", 9)
