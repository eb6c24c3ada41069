"""Blobs: which of them are there, and how one is added: written beside its place, verified, renamed."""

from __future__ import annotations

import contextlib
import hashlib
import os

from .layout import make_folder
from .protocol.manifest import EXECUTABLE, FILE
from .tree import umask

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Dict, Iterable, List, Set

    from .layout import Layout
    from .protocol.manifest import Entry

#: Nobody writes to a blob: what runs is a copy of it.
BLOB_MODE = 0o444

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def missing(layout: Layout, sha256s: Iterable[str]) -> List[str]:
    """Return those of ``sha256s`` that are not in the store, in their order, each once.

    Hold ``store.shared`` around it.
    """
    blobs = layout.blobs
    folders: Set[str] = set()
    with contextlib.suppress(FileNotFoundError):
        folders.update(os.listdir(blobs))
    access, exists = os.access, os.F_OK
    return [
        sha256
        for sha256 in dict.fromkeys(sha256s)
        if sha256[:2] not in folders or not access("%s/%s/%s" % (blobs, sha256[:2], sha256), exists)
    ]


def blobs_of(entries: Iterable[Entry]) -> Dict[str, int]:
    """Return the size of each blob that ``entries`` name, by sha256, in their order."""
    return {entry.content.decode("ascii"): entry.size for entry in entries if entry.type in (FILE, EXECUTABLE)}


class DamagedBlobError(Exception):
    """What arrived under a sha256 has another one, or another length; nothing of it is kept."""


class BlobWriter:
    """Adds blobs to the store, few system calls each. A context manager; not for two threads at once."""

    def __init__(self, layout: Layout) -> None:
        self._blobs = layout.blobs
        self._temporary = os.path.join(make_folder(layout.incoming), "%d.%s" % (os.getpid(), os.urandom(4).hex()))
        self._folders: Set[str] = set(os.listdir(make_folder(layout.blobs)))
        self._hidden_bits = BLOB_MODE & umask()

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary)

    def add(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        """Read ``chunks`` to their end and keep them as a blob; one that is there already stays as it is.

        Raises ``DamagedBlobError`` when they are not the ``size`` bytes that ``sha256`` names, ``OSError`` when they
        cannot be written (``chunks`` may then be only partly read), and what ``chunks`` raises. Nothing is kept then.
        """
        folder = "%s/%s" % (self._blobs, sha256[:2])
        if sha256[:2] not in self._folders:
            make_folder(folder)
            self._folders.add(sha256[:2])
        descriptor = os.open(self._temporary, _NEW_FILE, BLOB_MODE)
        try:
            _write_verified(descriptor, sha256, size, chunks)
            if self._hidden_bits:
                os.fchmod(descriptor, BLOB_MODE)
        except BaseException:
            os.unlink(self._temporary)
            raise
        finally:
            os.close(descriptor)
        place = "%s/%s" % (folder, sha256)
        if _has_size(place, size):
            os.unlink(self._temporary)
        else:
            os.rename(self._temporary, place)


def _has_size(path: str, size: int) -> bool:
    try:
        return os.stat(path).st_size == size
    except FileNotFoundError:
        return False


def _write_verified(descriptor: int, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
    written = 0
    digest = hashlib.sha256()
    for chunk in chunks:
        written += len(chunk)
        if written > size:
            raise DamagedBlobError("%s is longer than the %d bytes that were announced" % (sha256, size))
        digest.update(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(descriptor, view) :]
    if written < size:
        raise DamagedBlobError("%s ended after %d of %d bytes" % (sha256, written, size))
    if digest.hexdigest() != sha256:
        raise DamagedBlobError("%s arrived with other content: its sha256 is %s" % (sha256, digest.hexdigest()))
