"""The content-addressed store of a target: blobs by their sha256, and the manifests of the snapshots that they make up.

``blobs/ab/<sha256>`` (0444) is written beside its place, verified, and renamed. ``snapshots/<id>`` holds a manifest
and exists only when every blob that it names is there; its mtime is when it was last used. ``incoming/<id>`` is a
manifest whose blobs are still on their way, ``incoming/<anything else>`` a blob that has not arrived whole.

Locks (``flock``), outermost first:

* ``store.lock``, shared: while somebody looks whether blobs or a snapshot are there and says so; exclusive: while the
  cleaner removes a batch of them. Both are held for milliseconds.
* a manifest's own file, shared: for as long as it is sent or checked out; the cleaner leaves such a snapshot alone.
  What is being sent or checked out, and what was used within ``KEEP_S``, is therefore never removed.
"""

import contextlib
import fcntl
import hashlib
import os
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Set

from .layout import Layout, make_folder
from .protocol import manifest as manifests
from .protocol.atomic import write_atomic
from .tree import umask

#: What was used or uploaded less than this long ago is never removed: its start or its next try may be on the way.
KEEP_S = 3600.0
#: Nobody writes to a blob: what runs is a copy of it.
BLOB_MODE = 0o444

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class DamagedBlobError(Exception):
    """What arrived under a sha256 has another one, or another length; nothing of it is kept."""


class Manifest(NamedTuple):
    """A snapshot's manifest, held: while it is open, the cleaner leaves the snapshot and its blobs alone."""

    snapshot_id: str
    data: bytes
    complete: bool  #: whether every blob was there when it was opened


def has_snapshot(layout: Layout, snapshot_id: str) -> bool:
    """Whether the snapshot is complete here; if so, it counts as used now."""
    path = layout.snapshot(snapshot_id)
    with shared(layout):
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
    return True


@contextlib.contextmanager
def shared(layout: Layout) -> Iterator[None]:
    """Hold the cleaner back while the presence of blobs or snapshots is looked at and acted on. Keep it short."""
    with _locked(layout, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def exclusive(layout: Layout) -> Iterator[None]:
    """Hold everybody else back: for the cleaner, in short batches."""
    with _locked(layout, fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def _locked(layout: Layout, kind: int) -> Iterator[None]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        descriptor = os.open(layout.store_lock, flags, 0o600)
    except FileNotFoundError:
        layout.make_root()
        descriptor = os.open(layout.store_lock, flags, 0o600)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def missing(layout: Layout, sha256s: Iterable[str]) -> List[str]:
    """Return those of ``sha256s`` that are not in the store, in their order, each once. Hold ``shared`` around it."""
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


def blobs_of(entries: Iterable[manifests.Entry]) -> Dict[str, int]:
    """Return the size of each blob that ``entries`` name, by sha256, in their order."""
    return {
        entry.content.decode("ascii"): entry.size
        for entry in entries
        if entry.type in (manifests.FILE, manifests.EXECUTABLE)
    }


def put_manifest(layout: Layout, snapshot_id: str, data: bytes, complete: bool) -> None:
    """Keep a verified manifest: as a snapshot when ``complete``, else as one that is on its way.

    Hold ``shared`` from before the look that found it complete.
    """
    path = layout.snapshot(snapshot_id) if complete else layout.offered(snapshot_id)
    make_folder(os.path.dirname(path))
    write_atomic(path, data)


def complete_snapshot(layout: Layout, snapshot_id: str) -> None:
    """Turn an offered manifest into a snapshot. Hold ``shared`` from before the look that found every blob there."""
    path = layout.snapshot(snapshot_id)
    make_folder(layout.snapshots)
    try:
        os.rename(layout.offered(snapshot_id), path)
    except FileNotFoundError:
        if not os.path.exists(path):  # else another sender of the same snapshot was faster
            raise
    os.utime(path)


def drop_snapshot(layout: Layout, snapshot_id: str) -> None:
    """Forget that a snapshot is complete: the next start asks for what is missing."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(layout.snapshot(snapshot_id))


@contextlib.contextmanager
def hold_manifest(layout: Layout, snapshot_id: str, offered: bool) -> Iterator[Optional[Manifest]]:
    """Open a manifest, complete or (with ``offered``) still on its way; ``None`` when there is none.

    While it is held, the cleaner leaves it and its blobs alone.
    """
    descriptor = None
    complete = True
    path = layout.snapshot(snapshot_id)
    with shared(layout):
        descriptor = _open_held(path)
        if descriptor is None and offered:
            complete = False
            descriptor = _open_held(layout.offered(snapshot_id))
    if descriptor is None:
        yield None
        return
    with open(descriptor, "rb") as stream:
        yield Manifest(snapshot_id, stream.read(), complete)


def _open_held(path: str) -> Optional[int]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # over NFS a lock needs a descriptor open for writing
    except FileNotFoundError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # never waits: the cleaner takes it exclusively only under store.lock
    os.utime(descriptor)
    return descriptor


class BlobWriter:
    """Adds blobs to the store, few system calls each. A context manager; not for two threads at once."""

    def __init__(self, layout: Layout) -> None:
        self._blobs = layout.blobs
        self._temporary = os.path.join(make_folder(layout.incoming), "%d.%s" % (os.getpid(), os.urandom(4).hex()))
        self._folders: Set[str] = set(os.listdir(make_folder(layout.blobs)))
        self._hidden_bits = BLOB_MODE & umask()

    def __enter__(self) -> "BlobWriter":
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
