"""The bytes of one file of a snapshot, checked against its hash while they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class BlobSource:
    """Iterate over it for the file's bytes, in chunks of at most ``frames.CHUNK_BYTES``; each iteration reads anew.

    The last chunk is handed out only when the whole matches ``sha256``, and never more than ``size`` bytes come: a reader that
    got to the end has what was hashed. Raises ``SnapshotChangedError`` with the file's name otherwise.
    """

    sha256: str
    size: int  #: bytes
    path: Path  #: a file of the source directory that held these bytes when the snapshot was taken

    def __iter__(self) -> Iterator[bytes]:
        raise NotImplementedError

    def read(self) -> bytes:
        """Return all bytes at once; for files known to be small."""
        return b"".join(self)
