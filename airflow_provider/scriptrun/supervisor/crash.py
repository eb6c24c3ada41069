"""The tests' one seam: a process that reaches the point named by ``SCRIPTRUN_CRASH_POINT`` kills itself with SIGKILL.

Nothing else reads the variable, and the script never inherits it. In the order of a run, the points are

* of the starter: ``start.locked``, ``start.folder``, ``start.files``, ``start.recorded``, ``start.alive``,
  ``start.forked``, and, when the supervisor has said that it is there, ``start.acknowledged``;
* of the guard: ``guard.started``;
* of the supervisor: ``supervise.started``, ``supervise.accepted``, ``supervise.prepared``, ``supervise.begun``,
  ``supervise.forked``, ``supervise.running``, ``supervise.ended``, ``supervise.final``.
"""

import os

POINT = os.environ.get("SCRIPTRUN_CRASH_POINT", "")


def point(name: str) -> None:
    """Die here, if the environment says so."""
    if POINT and name == POINT:
        os.kill(os.getpid(), 9)
