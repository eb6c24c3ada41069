"""Blobs: which of them are here, and how one is added.

A large one is written beside its place, verified on the way, and renamed; a small one is verified before it is written.
A file in ``blobs/`` is a blob only if it is as long as its manifest says: neither a killed writer nor a power loss
leaves one that has its size and not its content.
"""

from __future__ import annotations

import contextlib
import hashlib
import os

from ..layout import make_folder
from .tree import umask

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Iterable, List, Mapping, Set, Union

    from ..layout import Layout

#: Nobody writes to a blob: what runs is a copy of it.
BLOB_MODE = 0o444

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def missing(layout: Layout, sizes: Mapping[str, int]) -> List[str]:
    """Return those of the blobs ``sizes`` (sha256 -> bytes) that are not here whole, in their order.

    Hold ``store.shared`` around it.
    """
    root = layout.blobs
    folders: Set[str] = set()
    with contextlib.suppress(FileNotFoundError):
        folders.update(os.listdir(root))
    return [
        sha256
        for sha256, size in sizes.items()
        if sha256[:2] not in folders or not _has_size("%s/%s/%s" % (root, sha256[:2], sha256), size)
    ]


def _has_size(path: str, size: int) -> bool:
    try:
        return os.stat(path).st_size == size
    except FileNotFoundError:
        return False


class DamagedBlobError(Exception):
    """What arrived under a sha256 has another one, or another length; nothing of it is kept."""


class BlobWriter:
    """Adds blobs to the store, in as few system calls as can be. A context manager; not for two threads at once.

    A blob that is there already is replaced by its equal: that takes less than to look, and mends what a power loss
    may have emptied.
    """

    def __init__(self, layout: Layout) -> None:
        self._blobs = layout.blobs
        self._temporary = os.path.join(make_folder(layout.incoming), "%d.%s" % (os.getpid(), os.urandom(4).hex()))
        self._folders: Set[str] = set(os.listdir(make_folder(layout.blobs)))
        self._hidden_bits = BLOB_MODE & umask()

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def add(self, sha256: str, size: int, chunks: Iterable[Union[bytes, memoryview]]) -> None:
        """Read ``chunks`` to their end and keep them as a blob, however large.

        Raises ``DamagedBlobError`` when they are not the ``size`` bytes that ``sha256`` names, ``OSError`` when they
        cannot be written (``chunks`` may then be only partly read), and what ``chunks`` raises. Nothing is kept then.
        """
        try:
            descriptor = os.open(self._temporary, _NEW_FILE, BLOB_MODE)
            try:
                written = 0
                digest = hashlib.sha256()
                for chunk in chunks:
                    written += len(chunk)
                    if written <= size:
                        digest.update(chunk)
                        _write(descriptor, chunk)
                _verify(sha256, size, written, digest)
                if self._hidden_bits:
                    os.fchmod(descriptor, BLOB_MODE)
            finally:
                os.close(descriptor)
            self._place(sha256)
        except BaseException:
            self._drop()
            raise

    def add_whole(self, sha256: str, data: Union[bytes, memoryview]) -> None:
        """Keep ``data`` as a blob. Raises as ``add`` does.

        It is verified before it is written, so it is written to its place at once: to rename each of ten thousand small
        files takes as long again. What a killed writer leaves there is too short, and so counts as missing.
        """
        digest = hashlib.sha256(data).hexdigest()
        if digest != sha256:
            raise _damaged(sha256, digest)
        prefix = sha256[:2]
        if prefix not in self._folders:
            self._make_folder(prefix)
        place = "%s/%s/%s" % (self._blobs, prefix, sha256)
        try:
            descriptor = os.open(place, _NEW_FILE, BLOB_MODE)
        except FileExistsError:  # spoiled, or another sender's
            self.add(sha256, len(data), (data,))
            return
        try:
            written = os.write(descriptor, data)
            if written < len(data):  # the disk is nearly full
                _write(descriptor, memoryview(data)[written:])
            if self._hidden_bits:
                os.fchmod(descriptor, BLOB_MODE)
        except BaseException:
            os.unlink(place)
            raise
        finally:
            os.close(descriptor)

    def _place(self, sha256: str) -> None:
        prefix = sha256[:2]
        if prefix not in self._folders:
            self._make_folder(prefix)
        os.rename(self._temporary, "%s/%s/%s" % (self._blobs, prefix, sha256))

    def _make_folder(self, prefix: str) -> None:
        make_folder("%s/%s" % (self._blobs, prefix))
        self._folders.add(prefix)

    def _drop(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary)


def _write(descriptor: int, data: Union[bytes, memoryview]) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def _verify(sha256: str, size: int, found: int, digest: hashlib._Hash) -> None:
    if found > size:
        raise DamagedBlobError("%s is longer than the %d bytes that were announced" % (sha256, size))
    if found < size:
        raise DamagedBlobError("%s ended after %d of %d bytes" % (sha256, found, size))
    if digest.hexdigest() != sha256:
        raise _damaged(sha256, digest.hexdigest())


def _damaged(sha256: str, found: str) -> DamagedBlobError:
    return DamagedBlobError("%s arrived with other content: its sha256 is %s" % (sha256, found))
