"""The content-addressed store of a target: blobs by their sha256, and the manifests of the snapshots that they make up.

``blobs/ab/<sha256>`` (0444): see ``blobs``. ``snapshots/<id>`` holds a manifest and exists only when every blob that it
names is there; its mtime is when it was last used. ``incoming/<id>`` is a manifest whose blobs are still on their way,
``incoming/<anything else>`` a large blob that has not arrived whole.

Locks (``flock``), outermost first:

* ``store.lock``, shared: while somebody looks whether blobs or a snapshot are there and says so; exclusive: while the
  cleaner removes a batch of them. Both are held for milliseconds.
* a manifest's own file, shared: for as long as it is sent or checked out; the cleaner leaves such a snapshot alone.
  What is being sent or checked out, and what was used within ``KEEP_S``, is therefore never removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from ..layout import make_folder
from ..protocol.atomic import write_atomic

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Iterator, Optional

    from ..layout import Layout

#: What was used or uploaded less than this long ago is never removed: its start or its next try may be on the way.
KEEP_S = 3600.0


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
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        descriptor = os.open(layout.store_lock, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


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
    with contextlib.suppress(FileNotFoundError), _read_only():
        os.unlink(layout.snapshot(snapshot_id))


@contextlib.contextmanager
def hold_manifest(layout: Layout, snapshot_id: str, offered: bool) -> Iterator[Optional[bytes]]:
    """Open a manifest, complete or (with ``offered``) still on its way; ``None`` when there is none.

    While it is held, the cleaner leaves it and its blobs alone.
    """
    with shared(layout):
        descriptor = _open_held(layout.snapshot(snapshot_id))
        if descriptor is None and offered:
            descriptor = _open_held(layout.offered(snapshot_id))
    if descriptor is None:
        yield None
        return
    with open(descriptor, "rb") as stream:
        yield stream.read()


def _open_held(path: str) -> Optional[int]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # over NFS a lock needs a descriptor open for writing
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # never waits: the cleaner takes it exclusively only under store.lock
    with _read_only():
        os.utime(descriptor)
    return descriptor


@contextlib.contextmanager
def _read_only() -> Iterator[None]:
    """Leave what cannot be written to as it is: in a run's container the store is another one's to change."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
