"""What went wrong, for whoever reads the supervisor's log: the one place that writes tracebacks."""

from __future__ import annotations

import contextlib
import sys


def print_exception() -> None:
    """Write the exception that is being handled to standard error. (Importing ``traceback`` costs milliseconds.)"""
    import traceback

    with contextlib.suppress(OSError):  # the log is on the same full disk, perhaps, that this is about
        traceback.print_exc()
        sys.stderr.flush()
