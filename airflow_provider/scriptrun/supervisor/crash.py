"""The tests' one seam: a process that reaches the point named by ``SCRIPTRUN_CRASH_POINT`` kills itself with SIGKILL.

Nothing else reads the variable, and the script never inherits it. The points, in the order of a run:

``start.locked``, ``start.folder``, ``start.files``, ``start.recorded``, ``start.alive``, ``start.forked`` (the starter),
``guard.started``, ``supervise.started``, ``supervise.accepted``, ``start.acknowledged`` (the starter again, before its
reply), ``supervise.prepared``, ``supervise.begun``, ``supervise.forked``, ``supervise.running``, ``supervise.ended``,
``supervise.final``.
"""

import os

POINT = os.environ.get("SCRIPTRUN_CRASH_POINT", "")


def point(name: str) -> None:
    """Die here, if the environment says so."""
    if POINT and name == POINT:
        os.kill(os.getpid(), 9)
