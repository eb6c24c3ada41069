"""How large a snapshot may be before somebody should look at it, and when it is refused."""

from __future__ import annotations

from dataclasses import dataclass

#: Azure ML's own limits, at which it refused; here they warn.
WARN_BYTES = 300 * 1024 * 1024
WARN_FILES = 2000


@dataclass(frozen=True)
class Limits:
    """Soft limits warn, the hard one refuses. 0 switches a limit off.

    :param warn_bytes: warn when all files together are larger (bytes).
    :param warn_files: warn when more files than these are new or changed since the last snapshot of the same directory.
    :param max_bytes: refuse with ``SnapshotTooLargeError`` when all files together are larger (bytes).
    """

    warn_bytes: int = WARN_BYTES
    warn_files: int = WARN_FILES
    max_bytes: int = 0
