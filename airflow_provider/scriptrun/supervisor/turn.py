"""Whose turn it is to send something that others are about to send as well: they wait, and then find it here.

Mapped tasks start at once, with the same files for the same target. A turn spares the link, and nothing depends on it:
a sender whose connection hangs loses it, and two that send the same at once do each other no harm.
"""

from __future__ import annotations

import contextlib
import os
import time

from . import flock

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Callable, Dict, Optional

#: How often somebody who waits looks.
PAUSE_S = 0.02
#: Somebody who waits says so this often: the other side takes silence for a broken connection.
SIGN_OF_LIFE_S = 10.0
#: A sender of whom nothing came for so long is not waited for.
STALLED_S = 60.0
#: A sender's progress is noted at most this often.
NOTE_S = 1.0

#: Those of this session: path of the lock -> its descriptor.
_held: Dict[str, int] = {}
_noted = 0.0


def take(path: str, say_so: Callable[[], None]) -> None:
    """Wait until nobody sends what ``path`` stands for; from then on it is this session's turn, until :func:`leave`.

    ``say_so`` is called every ``SIGN_OF_LIFE_S`` while it waits.
    """
    if path in _held:
        return
    descriptor = flock.take(path)
    seen, since = -1, time.monotonic()
    said = since
    while descriptor is None:
        now, changed = time.monotonic(), _changed(path)
        if changed != seen:
            seen, since = changed, now
        if now - since > STALLED_S:
            return
        if now - said >= SIGN_OF_LIFE_S:
            said = now
            say_so()
        time.sleep(PAUSE_S)
        descriptor = flock.take(path)
    os.utime(descriptor)
    _held[path] = descriptor


def go_on(path: str) -> None:
    """Note that something came of what is sent in this turn."""
    global _noted
    descriptor: Optional[int] = _held.get(path)
    if descriptor is not None and time.monotonic() - _noted >= NOTE_S:
        _noted = time.monotonic()
        os.utime(descriptor)


def leave(path: str) -> None:
    """Let the next one have its turn; nothing where this session has none."""
    descriptor = _held.pop(path, None)
    if descriptor is None:
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    os.close(descriptor)


def leave_all() -> None:
    """Leave every turn of this session."""
    for path in list(_held):
        leave(path)


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return -1
