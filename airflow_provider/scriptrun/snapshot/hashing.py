"""Reading files, in pieces, into their sha256."""

from __future__ import annotations

import errno
import hashlib
import os
import stat as modes
from typing import TYPE_CHECKING

from ..errors import SnapshotChangedError
from .folder import IMPOSSIBLE_STAT, STAT, Stat
from .naming import shown
from .survey import READ, TreeMovedError, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .survey import Seen

#: Read at once: files up to here cost one call; larger ones never need more memory than this.
_PIECE_BYTES = 1024 * 1024
#: How often a file that changes while it is read is read again before it is refused.
_READS = 2


def hash_all(root: int, files: Sequence[Seen], progress: Callable[[int, int], None] | None) -> None:
    """Fill in ``content`` of each file, and its ``stat`` as it was when it was read.

    One thread: of small files the time goes into calls of the system, which two threads of Python do no faster.

    :param progress: called with (files done, bytes done) after every file and every piece of a large one.

    Raises ``SnapshotChangedError``, ``SnapshotError`` for what cannot be read, ``TreeMovedError`` for what vanished.
    """
    finished = 0
    for done, seen in enumerate(files):
        seen.content, seen.stat = _hash_stable(root, seen.path, seen.stat, _within(progress, done, finished))
        finished += seen.stat[2]
        if progress is not None:
            progress(done + 1, finished)


def _within(progress: Callable[[int, int], None] | None, done: int, finished: int) -> Callable[[int], None] | None:
    return None if progress is None else lambda read: progress(done, finished + read)


def _hash_stable(root: int, path: str, before: Stat, progress: Callable[[int], None] | None) -> tuple[bytes, Stat]:
    for _ in range(_READS):
        digest, changed, after = _hash(root, path, before, progress)
        if not changed:
            return digest, after
        before = after
    raise SnapshotChangedError(
        f"{shown(path)} changed while it was read, and again when it was read anew",
        advice="Submit when nothing writes to it, or name it in .amlignore or .gitignore.",
    )


def _hash(root: int, path: str, before: Stat, progress: Callable[[int], None] | None) -> tuple[bytes, bool, Stat]:
    """Return the sha256 of a file, whether it is another than ``before`` by now, and its stat after it was read."""
    try:
        descriptor = os.open(path, READ, dir_fd=root)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            raise TreeMovedError(path) from error
        raise unreadable(path, error) from error
    try:
        if before is IMPOSSIBLE_STAT:  # not looked at yet
            before = STAT(os.fstat(descriptor))
        size = before[2]
        piece = os.read(descriptor, min(size + 1, _PIECE_BYTES))
        digest = hashlib.sha256(piece)
        length = len(piece)
        after: Stat = STAT(os.fstat(descriptor))
        if not modes.S_ISREG(after[0]):
            raise TreeMovedError(path)
        if length != size:
            # One byte more than it should have is enough to know that it grew.
            while piece and length <= size:
                piece = os.read(descriptor, _PIECE_BYTES)
                digest.update(piece)
                length += len(piece)
                if progress is not None:
                    progress(length)
            after = STAT(os.fstat(descriptor))
    except OSError as error:
        if not modes.S_ISREG(os.fstat(descriptor).st_mode):
            raise TreeMovedError(path) from error
        raise unreadable(path, error) from error
    finally:
        os.close(descriptor)
    return digest.hexdigest().encode("ascii"), after != before or length != size, after
