"""Taking a snapshot of what lies behind a URL: an object or all below a prefix, on any file system of fsspec's.

A listing says what there is; what looks as it did is taken over unread, the rest is read and hashed; another listing
says whether anything changed meanwhile. Nothing is kept, and memory does not grow with the size of a file.
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ..errors import SnapshotChangedError, SnapshotError
from ..supervisor.protocol.frames import CHUNK_BYTES
from ..supervisor.protocol.manifest import FILE, Entry, ManifestError, decode, encode
from .digests import Digest, Digests
from .listed import FILE_NAME, Listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from .address import Address, Found

#: So many objects are read at once: most of the time of a small one is waiting for its first byte.
READERS = 8
#: How often it is begun again when something changes meanwhile, before that is refused by name.
_ROUNDS = 3


def take_url(address: Address, *, cache_directory: Path, progress: Callable[[int, int], None] | None = None) -> Listed:
    """Take a snapshot of a file or of all files below a folder. Unchanged ones are not read, if the listing tells so.

    Files are never executable; folders are there only as far as something is in them.

    :param progress: called with (files read, bytes read), from several threads, one at a time.

    Raises ``SnapshotError``: there is nothing, it cannot be read, or its names make no tree; ``SnapshotChangedError``
    naming what goes on changing.
    """
    return _Reading(address, Digests(cache_directory, b"url\0" + address.name.encode()), progress).take()


class _Reading:
    """One call of ``take_url``."""

    def __init__(self, address: Address, cache: Digests, progress: Callable[[int, int], None] | None) -> None:
        self._address, self._cache, self._progress = address, cache, progress
        self._files = self._bytes = 0
        self._lock = threading.Lock()
        self._given_up = threading.Event()

    def take(self) -> Listed:
        remembered = known = self._cache.load()
        listed = self._address.look()
        for _ in range(_ROUNDS):
            digests = self._hash(listed, known)
            if all(digests[path] is known.get(path) for path in listed):
                break  # nothing was read, so nothing can have changed while it was
            again = self._address.look()
            changed = _changed(listed, again, digests)
            if not changed:
                break
            known = {path: digest for path, digest in digests.items() if digest.stamp and path not in changed}
            listed = again
        else:
            name = self._address.shown(changed[0])
            raise SnapshotChangedError(f"{name} changed while it was read, {_ROUNDS} times")
        lasting = {path: digest for path, digest in digests.items() if digest.stamp and listed[path].is_settled}
        if lasting != remembered:
            self._cache.save(lasting)
        return self._listed(digests)

    def _hash(self, listed: Mapping[str, Found], known: Mapping[str, Digest]) -> dict[str, Digest]:
        digests = {path: known[path] for path, found in listed.items() if path in known and found.is_still(known[path])}
        unknown = [path for path in listed if path not in digests]
        if not unknown:
            return digests
        pool = ThreadPoolExecutor(min(READERS, len(unknown)), thread_name_prefix="input")
        try:
            digests.update(zip(unknown, pool.map(lambda path: self._read(path, listed[path]), unknown), strict=True))
        finally:
            self._given_up.set()  # of use only to what still reads after an error
            pool.shutdown(cancel_futures=True)
            self._given_up.clear()
        return digests

    def _read(self, path: str, found: Found) -> Digest:
        digest, size = hashlib.sha256(), 0
        for piece in self._address.read(path):
            digest.update(piece)
            size += len(piece)
            self._tell(0, len(piece))
            if self._given_up.is_set():
                break
        self._tell(1, 0)
        return Digest(found.stamp, size, digest.hexdigest())

    def _tell(self, files: int, count: int) -> None:
        if self._progress is not None:
            with self._lock:
                self._files += files
                self._bytes += count
                self._progress(self._files, self._bytes)

    def _listed(self, digests: Mapping[str, Digest]) -> Listed:
        paths = {_encoded(path): path for path in digests}
        entries = [Entry(raw, FILE, digests[path].size, digests[path].sha256.encode()) for raw, path in paths.items()]
        try:
            entries = decode(encode(entries))
        except ManifestError as error:
            raise SnapshotError(f"What lies at {self._address.name} is no tree of files", why=str(error)) from None

        def open_entry(entry: Entry) -> Iterator[bytes]:
            return _verified(self._address, paths[entry.path], entry)

        return Listed(tuple(entries), "" in digests, open_entry)


def _changed(before: Mapping[str, Found], after: Mapping[str, Found], read: Mapping[str, Digest]) -> list[str]:
    """Return the paths that came, went, look otherwise, or did not have the size that they were listed with."""
    return sorted(
        path
        for path in {*before, *after}
        if path not in before or path not in after or not after[path].looks_like(before[path], read[path].size)
    )


def _encoded(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape") if path else FILE_NAME


def _verified(address: Address, path: str, entry: Entry) -> Iterator[bytes]:
    """Yield a file's bytes anew; the last of them only when the whole is what was hashed."""
    digest, left, held = hashlib.sha256(), entry.size, b""
    for piece in address.read(path):
        digest.update(piece)
        left -= len(piece)
        if left < 0:
            break
        for at in range(0, len(piece), CHUNK_BYTES):
            if held:
                yield held
            held = piece[at : at + CHUNK_BYTES]
    if left or digest.hexdigest().encode() != entry.content:
        raise SnapshotChangedError(f"{address.shown(path)} changed after it was hashed, while it was to be sent")
    if held:
        yield held
