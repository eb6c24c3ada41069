"""Snapshots and blobs: what they take, and how they go while others send, start and check out.

Nothing goes without another look under the store's exclusive lock, which is held for a small batch at a time: see
``store`` for who holds it shared, and why nothing that is being sent, started or checked out can go.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re

from .. import store
from ..layout import check_sha256
from ..refusal import Refusal
from ..store.tree import STAT_BLOCK_BYTES
from .retention import SnapshotFacts

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Collection, Dict, Iterator, List, Set, Tuple

    from ..layout import Layout

#: A manifest whose blobs stopped coming is kept this long: its sender may come back for the rest.
OFFER_KEEP_S = 24 * 3600.0
#: So many blobs go while everybody else waits: some ten milliseconds.
BATCH = 500
#: How a manifest holds a sha256 (see protocol/manifest.py). A path that looks like one only keeps one blob too many.
_HASH = re.compile(rb"64:([0-9a-f]{64}),")


class Inventory:
    """All blobs and manifests of a store."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.names: List[bytes] = []
        self.bytes: List[int] = []
        self.changed: List[float] = []
        self._index: Dict[bytes, int] = {}
        self.snapshots: List[SnapshotFacts] = []
        self.offered: List[SnapshotFacts] = []

    def take(self, in_use: Collection[str]) -> None:
        """Look at everything. ``in_use`` are the snapshots that runs which are not over name."""
        for folder in _sorted_names(self._layout.blobs):
            self._take_folder(os.path.join(self._layout.blobs, folder))
        for path, into in ((self._layout.snapshots, self.snapshots), (self._layout.incoming, self.offered)):
            for name, changed in _manifests(path):
                try:
                    named = hashes(os.path.join(path, name))
                except FileNotFoundError:  # completed this moment: unknown, so its blobs are kept when the time comes
                    continue
                blobs = {self._index[blob] for blob in named if blob in self._index}
                into.append(SnapshotFacts(name, changed, blobs, name in in_use))

    def _take_folder(self, folder: str) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    facts = entry.stat(follow_symlinks=False)
                    name = os.fsencode(entry.name)
                    self._index[name] = len(self.names)
                    self.names.append(name)
                    self.bytes.append(facts.st_blocks * STAT_BLOCK_BYTES)
                    self.changed.append(facts.st_mtime)

    def forget(self, one: SnapshotFacts) -> None:
        """Note that a manifest has gone."""
        for manifests in (self.snapshots, self.offered):
            if one in manifests:
                manifests.remove(one)

    def loose(self, before: float) -> List[int]:
        """Return the blobs that no manifest names, and that are older than ``before``."""
        named: Set[int] = set()
        for one in (*self.snapshots, *self.offered):
            named.update(one.blobs)
        return [blob for blob, changed in enumerate(self.changed) if blob not in named and changed < before]


def hashes(path: str) -> Set[bytes]:
    """Return the names of the blobs that a manifest names. Raises ``FileNotFoundError`` when it is gone."""
    with open(path, "rb") as file:
        return set(_HASH.findall(file.read()))


def _sorted_names(folder: str) -> List[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _manifests(folder: str) -> Iterator[Tuple[str, float]]:
    """Yield the names of a folder that are snapshot ids, and when each was last used."""
    for name in _sorted_names(folder):
        if _is_sha256(name):
            with contextlib.suppress(FileNotFoundError):
                yield name, os.stat(os.path.join(folder, name)).st_mtime


def _is_sha256(name: str) -> bool:
    try:
        check_sha256(name)
    except Refusal:
        return False
    return True


def drop_manifest(layout: Layout, path: str, last_used: float) -> bool:
    """Remove a manifest, unless it is held or was used after ``last_used``; say whether it is gone."""
    with store.exclusive(layout):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            if os.fstat(descriptor).st_mtime > last_used:
                return False
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
    return True


def remove_blobs(layout: Layout, inventory: Inventory, blobs: List[int]) -> Tuple[int, int]:
    """Remove blobs that no manifest of the inventory names, in batches; return how many went, and their bytes.

    Whoever offered a snapshot since the inventory was taken keeps its blobs.
    """
    known = {one.snapshot_id for one in (*inventory.snapshots, *inventory.offered)}
    kept: Set[bytes] = set()
    count = freed = 0
    for start in range(0, len(blobs), BATCH):
        with store.exclusive(layout):
            for folder in (layout.snapshots, layout.incoming):
                for snapshot_id, _ in _manifests(folder):
                    if snapshot_id not in known:
                        with contextlib.suppress(FileNotFoundError):
                            kept.update(hashes(os.path.join(folder, snapshot_id)))
                            known.add(snapshot_id)
            for blob in blobs[start : start + BATCH]:
                name = inventory.names[blob]
                if name not in kept and _unlink(layout, name):
                    count += 1
                    freed += inventory.bytes[blob]
    return count, freed


def _unlink(layout: Layout, name: bytes) -> bool:
    try:
        os.unlink(os.path.join(os.fsencode(layout.blobs), name[:2], name))
    except FileNotFoundError:
        return False
    return True
