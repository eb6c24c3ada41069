"""The bytes of one file of a snapshot, checked against its hash while they are read."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import SnapshotChangedError
from ..supervisor.protocol.frames import CHUNK_BYTES
from .naming import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class BlobSource:
    """Iterate over it for the file's bytes, in chunks of at most ``CHUNK_BYTES``; each iteration reads anew.

    The last chunk is handed out only when the whole matches ``sha256``, and never more than ``size`` bytes come: a
    reader that got to the end has what was hashed. Raises ``SnapshotChangedError`` with the file's name otherwise.
    """

    sha256: str
    size: int  #: bytes
    path: str  #: a file of the source directory that held these bytes when the snapshot was taken

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks() if self.size > CHUNK_BYTES else iter((self._small(),) if self.size else ())

    def read(self) -> bytes:
        """Return all bytes at once; for files known to be small."""
        return b"".join(self)

    def _small(self) -> bytes:
        # Of the thousands of small files that a snapshot is made of: three calls of the system each.
        try:
            descriptor = os.open(self.path, _READ)
            try:
                data = os.read(descriptor, self.size)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._changed(os.strerror(error.errno or 0)) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise self._changed("it is shorter now" if len(data) < self.size else "its content is another now")
        return data

    def _chunks(self) -> Iterator[bytes]:
        digest = hashlib.sha256()
        left = self.size
        try:
            descriptor = os.open(self.path, _READ)
        except OSError as error:
            raise self._changed(os.strerror(error.errno or 0)) from error
        try:
            while True:
                chunk = _read_full(descriptor, min(CHUNK_BYTES, left))
                digest.update(chunk)
                left -= len(chunk)
                if left and len(chunk) < CHUNK_BYTES:
                    raise self._changed("it is shorter now")
                if not left:
                    break
                yield chunk
            if digest.hexdigest() != self.sha256:
                raise self._changed("its content is another now")
        except OSError as error:
            raise self._changed(os.strerror(error.errno or 0)) from error
        finally:
            os.close(descriptor)
        yield chunk

    def _changed(self, why: str) -> SnapshotChangedError:
        return SnapshotChangedError(
            f"{shown(self.path)} changed after the snapshot was taken, while it was to be sent",
            why=f"The reason: {why}",
            advice="Submit again; what is written while a task runs belongs in .amlignore or .gitignore.",
        )


def _read_full(descriptor: int, size: int) -> bytes:
    """Read ``size`` bytes, fewer only at the end of the file."""
    data = os.read(descriptor, size)
    while len(data) < size:
        more = os.read(descriptor, size - len(data))
        if not more:
            break
        data += more
    return data
