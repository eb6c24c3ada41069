"""What only Linux offers: family ties of processes. Elsewhere, a killed supervisor's script may live on."""

from __future__ import annotations

import os
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
PR_SET_CHILD_SUBREAPER = 36
SIGKILL = 9


def become_subreaper() -> None:
    """Let every descendant whose parent dies become a child of this process, so that waiting for children finds it."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread of ``parent`` that forked it ends; at once if it has ended.

    Source: prctl(2). It covers this process only, not its children.
    """
    _prctl(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, "prctl(%d): %s" % (option, os.strerror(code)))
