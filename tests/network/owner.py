"""Who a user, a namespace or a folder of ours belongs to: the process that made it, told by the name.

A test run that is killed cannot clean up; the next one finds what it left by these names.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: A user's name has at most 32 characters: this, a pid (7), a start time (10), a number, and hyphens.
PREFIX = "scriptrun"
_NAME = re.compile(rf"{PREFIX}-(\d+)-(\d+)-\d+")
#: Of the fields behind the program's name in ``/proc/<pid>/stat``, the one that is called ``starttime``; see proc(5).
_START_TIME_FIELD = 19
_numbers = itertools.count(1)


def new_name() -> str:
    """Return a name that no other process, living or dead, gives to anything."""
    return f"{PREFIX}-{os.getpid()}-{_start_time(os.getpid())}-{next(_numbers)}"


def is_orphan(name: str) -> bool:
    """Whether :func:`new_name` made this name in a process that is gone."""
    found = _NAME.fullmatch(name)
    return found is not None and _start_time(int(found[1])) != found[2]


def _start_time(pid: int) -> str | None:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return status.rpartition(")")[2].split()[_START_TIME_FIELD]


@contextmanager
def one_at_a_time(what: str) -> Iterator[None]:
    """Hold a lock of this machine and this user: ``useradd`` gives up, or waits for seconds, where another one runs."""
    with (Path(tempfile.gettempdir()) / f"{PREFIX}-{os.getuid()}-{what}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
