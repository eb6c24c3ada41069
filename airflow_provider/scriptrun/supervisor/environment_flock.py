"""An advisory lock that dies with its holder: who resolves or builds, while the others wait and then find it done."""

import fcntl
import os
import sys
from contextlib import contextmanager
from typing import Iterator, Optional

from .layout import make_folder


@contextmanager
def exclusive(path: str, waiting_for: str) -> Iterator[None]:
    """Hold the exclusive ``flock`` of ``path`` (made if absent); say ``waiting for ...`` when it is taken.

    The descriptor is not inherited by programs that are started meanwhile: the lock is free when this process dies.
    """
    make_folder(os.path.dirname(path))
    descriptor = _acquire(path, waiting_for)
    try:
        yield
    finally:
        os.close(descriptor)


def try_exclusive(path: str) -> Optional[int]:
    """Return a descriptor that holds the exclusive ``flock`` of the existing ``path``, or ``None``: taken, or gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    return _or_close(descriptor, path, fcntl.LOCK_EX)


def try_shared(path: str) -> Optional[int]:
    """Return a descriptor that holds a shared ``flock`` of the existing ``path``, or ``None``: taken, or gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    return _or_close(descriptor, path, fcntl.LOCK_SH)


def _or_close(descriptor: int, path: str, kind: int) -> Optional[int]:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if not _is_still(descriptor, path):
        os.close(descriptor)
        return None
    return descriptor


def _acquire(path: str, waiting_for: str) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stdout.write("waiting for %s ...\n" % waiting_for)
            sys.stdout.flush()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_still(descriptor, path):
            return descriptor
        os.close(descriptor)  # a clean removed the file between our open and our lock


def _is_still(descriptor: int, path: str) -> bool:
    """Whether ``path`` still names the file that ``descriptor`` has open: a lock on a removed file guards nothing."""
    try:
        named, opened = os.stat(path), os.fstat(descriptor)
    except OSError:
        return False
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)
