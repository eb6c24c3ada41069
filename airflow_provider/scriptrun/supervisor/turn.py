"""Whose turn it is to send something that others are about to send as well: they wait, and then find it here.

Mapped tasks start at once, with the same files for the same target. A turn spares the link, and nothing depends on it:
a sender of whom nothing comes loses it, and two that send the same at once do each other no harm.

The turn is the lock of a file that holds the sender's name, and was modified when something came last. A sender whose
connection broke, and who comes again, may find its own lock there: the server has not noticed yet.
"""

from __future__ import annotations

import contextlib
import os
import time

from . import flock

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Callable, Dict

#: How often somebody who waits looks.
PAUSE_S = 0.02
#: Somebody who waits says so this often: the other side takes silence for a broken connection.
SIGN_OF_LIFE_S = 10.0
#: A sender of whom nothing came for so long is not waited for.
STALLED_S = 60.0
#: What comes of a sender is noted at most this often.
NOTE_S = 1.0
#: No sender's name is longer.
MAX_NAME_LENGTH = 64
_NO_LOCK = -1

#: The turns of this session: path of the lock -> its descriptor, or that it was given up on whoever holds it.
_held: Dict[str, int] = {}
_noted = 0.0


def take(path: str, sender: object, say_so: Callable[[], None]) -> bool:
    """Wait until nobody else sends what ``path`` stands for; it is this session's turn then, until :func:`leave`.

    Return whether there was somebody to wait for.

    :param sender: names who sends, over several sessions; what is no short text names nobody.
    :param say_so: called every ``SIGN_OF_LIFE_S`` while it waits.
    """
    name = sender.encode("utf-8", "replace") if isinstance(sender, str) and len(sender) <= MAX_NAME_LENGTH else b""
    descriptor = flock.take(path)
    has_waited = descriptor is None
    seen, since = -1, time.monotonic()
    said = since
    while descriptor is None:
        found, changed = _look(path)
        now = time.monotonic()
        if changed != seen:
            seen, since = changed, now
        if now - since > STALLED_S or (name and found == name):
            _held[path] = _NO_LOCK
            go_on(path)
            return has_waited
        if now - said >= SIGN_OF_LIFE_S:
            said = now
            say_so()
        time.sleep(PAUSE_S)
        descriptor = flock.take(path)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, name)
    os.utime(descriptor)
    _held[path] = descriptor
    return has_waited


def go_on(path: str) -> None:
    """Note that something came of what is sent in this turn."""
    global _noted
    if path in _held and time.monotonic() - _noted >= NOTE_S:
        _noted = time.monotonic()
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)


def leave(path: str) -> None:
    """Let the next one have its turn; nothing where this session has none."""
    descriptor = _held.pop(path, None)
    if descriptor is None:
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # whoever holds the lock of this file without sending holds nobody up any more
    if descriptor != _NO_LOCK:
        os.close(descriptor)


def leave_all() -> None:
    """Leave every turn of this session."""
    for path in list(_held):
        leave(path)


def _look(path: str) -> tuple[bytes, int]:
    """Return who sends, and when something came last."""
    try:
        with open(path, "rb") as file:
            return file.read(MAX_NAME_LENGTH * 4), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return b"", -1
