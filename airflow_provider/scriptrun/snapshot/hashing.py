"""Reading files, in pieces, into their sha256."""

from __future__ import annotations

import errno
import hashlib
import os
import stat as modes
from typing import TYPE_CHECKING

from ..errors import SnapshotChangedError
from .folder import STAT, Stat
from .naming import shown
from .survey import READ, TreeMovedError, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .survey import Seen

#: Read at once: files up to here cost one call; larger ones never need more memory than this.
_PIECE_BYTES = 1024 * 1024
#: How often a file that changes while it is read is read again before it is refused.
_READS = 2


def hash_all(root: int, files: Iterable[Seen], progress: Callable[[int, int], None] | None) -> None:
    """Fill in ``content`` of each file, and its ``stat`` as it was when it was read.

    Raises ``SnapshotChangedError``, ``SnapshotError`` for what cannot be read, ``TreeMovedError`` for what vanished.
    """
    read_bytes = 0
    for done, seen in enumerate(files, start=1):
        seen.content, seen.stat = _hash_stable(root, seen.path, seen.stat)
        read_bytes += seen.stat[2]
        if progress is not None:
            progress(done, read_bytes)


def _hash_stable(root: int, path: str, before: Stat) -> tuple[bytes, Stat]:
    for _ in range(_READS):
        digest, after = _hash(root, path, before[2])
        if after == before:
            return digest, after
        before = after
    raise SnapshotChangedError(
        f"{shown(path)} changed while it was read, and again when it was read anew",
        advice="Submit when nothing writes to it, or name it in .amlignore or .gitignore.",
    )


def _hash(root: int, path: str, size: int) -> tuple[bytes, Stat]:
    try:
        descriptor = os.open(path, READ, dir_fd=root)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            raise TreeMovedError(path) from error
        raise unreadable(path, error) from error
    try:
        piece = os.read(descriptor, min(size + 1, _PIECE_BYTES))
        digest = hashlib.sha256(piece)
        if len(piece) != size:
            while piece:
                piece = os.read(descriptor, _PIECE_BYTES)
                digest.update(piece)
        stat: Stat = STAT(os.fstat(descriptor))
    except OSError as error:
        raise unreadable(path, error) from error
    finally:
        os.close(descriptor)
    if modes.S_IFMT(stat[0]) != modes.S_IFREG:
        raise TreeMovedError(path)
    return digest.hexdigest().encode("ascii"), stat
