"""Taking a snapshot of a source directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .snapshot import Snapshot


def take(
    source_directory: Path,
    *,
    cache_directory: Path,
    limits: Limits = Limits(),  # noqa: B008  (a frozen value)
    progress: Callable[[int, int], None] | None = None,
) -> Snapshot:
    """Take a snapshot of what ``source_directory`` holds now.

    :param cache_directory: a folder of ours (made when missing) where the stat cache of each source directory is kept.
    :param limits: when to warn and when to refuse.
    :param progress: called from time to time with (files hashed, bytes hashed) while there is hashing to do.

    Left out are what ``.amlignore`` at the root, or else the ``.gitignore`` files of the source directory say, and always ``.git``,
    ``__pycache__``, virtual environments, and ``outputs`` and ``logs`` at the root.

    Raises ``SnapshotError`` naming the file: a missing directory, a link that escapes, a socket, FIFO or device, what cannot be
    read; ``SnapshotChangedError`` for what goes on changing while it is read; ``SnapshotTooLargeError`` over the hard limit.
    """
    raise NotImplementedError
