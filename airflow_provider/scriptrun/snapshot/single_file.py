"""Taking a snapshot of one file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from stat import S_IXUSR
from typing import TYPE_CHECKING

from ..errors import SnapshotChangedError
from ..supervisor.protocol.manifest import EXECUTABLE, FILE, Entry
from .assembly import is_racy
from .blob import BlobSource
from .digests import Digest, Digests
from .folder import FILE as FILE_KIND
from .folder import IMPOSSIBLE_STAT, STAT
from .hashing import hash_all
from .listed import FILE_NAME, Listed
from .naming import shown
from .survey import Seen, TreeMovedError, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from .folder import Stat


def take_file(path: Path, *, cache_directory: Path, progress: Callable[[int, int], None] | None = None) -> Listed:
    """Take a snapshot of a regular file; links that lead to it are followed. An unchanged one is not read.

    :param cache_directory: where it is remembered what the file held.
    :param progress: called with (files hashed, bytes hashed), now and then.

    Raises ``SnapshotError``: it cannot be read; ``SnapshotChangedError``: it goes on changing, or vanished.
    """
    real = Path(os.path.realpath(path))
    cache = Digests(cache_directory, b"file\0" + os.fsencode(real))
    try:
        stat: Stat = STAT(real.stat())
        known = cache.load().get("")
        if known is not None and known.stamp == _stamp(stat):
            sha256, size = known.sha256, known.size
        else:
            started_ns = time.time_ns()
            sha256, stat = _hash(real, progress)
            size = stat[2]
            if not is_racy(stat, started_ns):
                cache.save({"": Digest(_stamp(stat), size, sha256)})
    except TreeMovedError as error:
        raise SnapshotChangedError(f"{shown(str(path))} was there, and then was no file any more") from error
    except OSError as error:
        raise unreadable(str(path), error) from error
    kind = EXECUTABLE if stat[0] & S_IXUSR else FILE
    entry = Entry(FILE_NAME, kind, size, sha256.encode("ascii"))
    return Listed((entry,), True, lambda _entry: BlobSource(sha256, size, str(real)))


def _hash(path: Path, progress: Callable[[int, int], None] | None) -> tuple[str, Stat]:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        seen = Seen(path.name, FILE_NAME, FILE_KIND, IMPOSSIBLE_STAT, None)
        hash_all(folder, [seen], progress)
    finally:
        os.close(folder)
    return (seen.content or b"").decode("ascii"), seen.stat


def _stamp(stat: Stat) -> str:
    return " ".join(map(str, stat))
