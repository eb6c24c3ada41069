"""What went wrong, for whoever reads the supervisor's log: the one place that writes tracebacks."""

from __future__ import annotations

import sys


def print_exception() -> None:
    """Write the exception that is being handled to standard error. (Importing ``traceback`` costs milliseconds.)"""
    import traceback

    traceback.print_exc()
    sys.stderr.flush()
