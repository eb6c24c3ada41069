"""Who lives, by ``flock``: the kernel lets go of it when the last holder dies, whatever it died of. No pid is trusted.

A lock belongs to the open file: a forked child that inherits the descriptor holds it too, until it closes it.
"""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Optional


def take(path: str) -> Optional[int]:
    """Lock ``path`` (made when it is missing) and return its descriptor; ``None`` when somebody else holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def wait(path: str) -> int:
    """Lock ``path`` (made when it is missing), waiting for whoever holds it, and return its descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_held(path: str) -> bool:
    """Whether somebody holds the lock of ``path``. A shared lock asks: two that ask must not see each other."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
