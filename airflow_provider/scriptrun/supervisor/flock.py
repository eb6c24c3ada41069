"""Who lives, by ``flock``: the kernel lets go of it when the last holder dies, whatever it died of. No pid is trusted.

A lock belongs to the open file: a forked child that inherits the descriptor holds it too, until it closes it.
"""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Callable, Optional


def take(path: str) -> Optional[int]:
    """Lock ``path`` (made when it is missing) and return its descriptor; ``None`` when somebody else holds it."""
    return _lock(path, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX | fcntl.LOCK_NB)


def take_existing(path: str, shared: bool = False) -> Optional[int]:
    """Lock ``path``, alone or ``shared``, and return its descriptor; ``None`` when somebody holds it, or it is gone."""
    try:
        return _lock(path, os.O_RDONLY, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return None


def wait(path: str, busy: Optional[Callable[[], None]] = None) -> int:
    """Lock ``path`` (made when it is missing), waiting for whoever holds it, and return its descriptor.

    ``busy`` is called once before there is something to wait for.
    """
    descriptor = take(path)
    if descriptor is None and busy is not None:
        busy()
    while descriptor is None:
        descriptor = _lock(path, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
    return descriptor


def _lock(path: str, flags: int, how: int) -> Optional[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how)
        if _is_at(descriptor, path):
            return descriptor
    except BlockingIOError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_at(descriptor: int, path: str) -> bool:
    """Whether ``path`` still is the open file: the cleaner, which held the lock meanwhile, may have removed it."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def share(path: str) -> int:
    """Lock ``path`` (made when it is missing) with all who do so at once, and return its descriptor."""
    descriptor = None
    while descriptor is None:
        descriptor = _lock(path, os.O_RDWR | os.O_CREAT, fcntl.LOCK_SH)
    return descriptor


def is_held(path: str, shared: bool = False) -> bool:
    """Whether somebody holds the lock of ``path``. A shared lock asks: two that ask must not see each other.

    ``shared``: those count who share it, and with them whoever asks the same at this moment.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if shared else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
