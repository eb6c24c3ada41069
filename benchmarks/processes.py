"""What processes have spent, as the kernel says it (proc(5))."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def cpu_s(process: int) -> float:
    """Return the time that a process has computed so far, in user and system mode."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_bytes(process: int) -> int:
    """Return how much of its memory is resident."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def children(process: int) -> list[int]:
    """Return the processes that its first thread has started, and that live."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def sockets(process: int) -> set[str]:
    """Return the sockets that are open in a process and in those that it has started, and they."""
    found: set[str] = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # some end meanwhile
        for link in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found |= {name for name in (os.readlink(link),) if name.startswith("socket:")}
        for thread in Path(f"/proc/{process}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found |= sockets(int(child))
    return found


def servers(root: str) -> list[int]:
    """Return the processes that serve sessions about this root. Those of its runs look the same, but are detached."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if b"serve" not in words or os.fsencode(root) not in words:
                continue
            if not any(os.readlink(link).startswith(f"{root}/runs/") for link in (entry / "fd").iterdir()):
                found.append(int(entry.name))
    return found
