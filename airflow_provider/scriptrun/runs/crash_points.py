"""Named moments at which a test can have this process die, as a power cut would end it. Inert otherwise.

``SCRIPTRUN_CRASH_POINT=<name>`` kills the process there; ``<name>:<file>`` does so only while the file does not exist,
and makes it, so that the next try gets through.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "SCRIPTRUN_CRASH_POINT"

BEFORE_LINEAGE = "before_lineage"  #: nothing is stored, nothing was asked of the target
AFTER_LINEAGE = "after_lineage"  #: the lineage is stored, the start was not sent
AFTER_START = "after_start_before_reply"  #: the target has accepted the run, and this process has not heard of it
WHILE_PREPARING = "while_preparing"  #: the run was seen for the first time: Preparing, unless that was quick
WHILE_RUNNING = "while_running"  #: the run was seen Running
AFTER_END_BEFORE_COLLECT = "after_end_before_collect"
WHILE_COLLECTING = "while_collecting"  #: the first file is half there
AFTER_COLLECT = "after_collect"  #: the record is written, nobody has heard of it


def crash_point(name: str) -> None:
    """Die here, if a test asked for it."""
    wanted, _, once = os.environ.get(VARIABLE, "").partition(":")
    if wanted != name:
        return
    if once:
        try:
            os.close(os.open(once, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)
