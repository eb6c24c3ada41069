"""How a run ended, from how its script did: a pure function."""

from __future__ import annotations

import os

from .protocol.status import Reason, Status

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

#: Who asks for an end with one of these gets Canceled; every other reason makes it Failed.
CANCELED_REASONS = (Reason.CANCELED, Reason.SUPERSEDED)


class Ending:
    """Why a run is being ended from outside, and what to tell a person about it."""

    __slots__ = ("message", "reason")

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason, self.message = reason, message

    @property
    def status(self) -> Status:
        """Canceled or Failed."""
        return Status.CANCELED if self.reason in CANCELED_REASONS else Status.FAILED


def of_ending(ending: Ending) -> Dict[str, Any]:
    """Return the fields of the verdict for a run that was ended from outside."""
    return {"status": ending.status, "reason": ending.reason.value, "message": ending.message}


def of_script(wait_status: int, ending: Optional[Ending], memory: Optional[str]) -> Dict[str, Any]:
    """Return the fields of the verdict for a script that ended with ``wait_status`` (waitpid(2)).

    :param ending: why it was killed, when it was before it ended by itself.
    :param memory: the sentence of ``memory.explain``, when memory ran out.
    """
    exit_code = os.WEXITSTATUS(wait_status) if os.WIFEXITED(wait_status) else None
    signal = os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else None
    facts = {"exit_code": exit_code, "signal": signal}
    if ending is not None:
        return dict(of_ending(ending), **facts)
    if exit_code == 0:
        return dict(status=Status.COMPLETED, reason=None, message=None, **facts)
    if signal is None:
        reason, message = Reason.SCRIPT, "The script ended with exit code %d." % (exit_code or 0)
    else:
        reason, message = Reason.SIGNAL, "The script was ended by signal %s." % signal_name(signal)
    if memory:
        reason, message = Reason.OUT_OF_MEMORY, "%s %s" % (message, memory)
    return dict(status=Status.FAILED, reason=reason.value, message=message, **facts)


def signal_name(number: int) -> str:
    """Return for instance ``9 (SIGKILL)``."""
    import signal

    try:
        return "%d (%s)" % (number, signal.Signals(number).name)
    except ValueError:
        return str(number)
