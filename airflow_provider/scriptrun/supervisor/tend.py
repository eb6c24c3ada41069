"""Seeing a child through to its end: its output moved, its tree killed when it must end, all of it reaped."""

from __future__ import annotations

import os

from .processes import Escalation, Reaper
from .protocol.status import Reason

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Callable, Optional

    from .pump import Pump
    from .verdict import Ending
    from .watch import Watch


class Tended:
    """How it ended."""

    __slots__ = ("ending", "wait_status")

    def __init__(self, wait_status: int, ending: Optional[Ending]) -> None:
        self.wait_status = wait_status  #: of the child itself, waitpid(2)
        self.ending = ending  #: why it was killed; ``None`` when it ended by itself, before anybody said that it must


def tend(child: int, pump: Pump, watch: Watch, grace_s: float, tell: Callable[[Optional[Ending], str], None]) -> Tended:
    """Return when neither the child nor anything that came of it lives, and every byte they wrote is in the log.

    ``tell`` is called with the reason (``None``: the child has ended by itself) when its tree begins to be killed, and
    again, with a sentence, when something of it does not die.
    """
    reaper = Reaper()
    reaper.awaited.add(child)
    killing: Optional[Escalation] = None
    ending: Optional[Ending] = None
    said_stuck = False
    while reaper.reap():
        has_ended = child in reaper.ended
        if killing is None and (has_ended or watch.ending):
            ending = None if has_ended else watch.ending
            killing = Escalation(grace_s)
            tell(ending, "")
        elif killing is not None and ending is None and watch.ending:
            killing.hurry()  # the script is over, and somebody wants the rest of it to be
        pause = killing.step() if killing else None
        stuck = killing.stuck() if killing else None
        if stuck and not said_stuck:
            said_stuck = True
            tell(ending, stuck)
        watch.wait(pump.source, pause)
        pump.move()
        if pump.failure is not None:
            watch.end(Reason.TARGET, _failure(pump.failure))
    pump.drain()
    if pump.failure is not None:
        watch.end(Reason.TARGET, _failure(pump.failure))
        ending = ending or watch.ending
    return Tended(reaper.ended[child], ending)


def _failure(error: OSError) -> str:
    return "Its log cannot be written, so it was ended: %s: %s." % (error.filename, os.strerror(error.errno or 0))
