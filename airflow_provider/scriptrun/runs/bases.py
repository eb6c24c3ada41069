"""The manifests of the snapshots that were started lately: what the next one is told to a target as a change of.

One file for each snapshot, compressed, in ``<cache directory>/bases/<of what>/``. Losing it costs bytes on the wire and
nothing else, so whatever is wrong with it is logged.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.supervisor.protocol.atomic import is_temporary, write_atomic
from airflow_provider.scriptrun.supervisor.protocol.canonical import digest
from airflow_provider.scriptrun.supervisor.protocol.manifest import MAX_MANIFEST_BYTES, snapshot_id
from airflow_provider.scriptrun.targets.parse import is_sha256

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider.scriptrun.snapshot import Snapshot

_log = logging.getLogger(__name__)

#: Kept of one source directory: a target that was not used for some submissions may have one of them.
KEPT = 5
#: What was not used for so long is removed when something else is first kept.
UNUSED_SECONDS = 30 * 24 * 3600
_LEVEL = 1


class Bases:
    """The last snapshots of one thing.

    :param cache_directory: a folder of ours, made when missing.
    :param of: what they are snapshots of: any text that stays the same from one submission to the next.
    """

    def __init__(self, cache_directory: Path, of: str) -> None:
        self._parent = cache_directory / "bases"
        self._folder = self._parent / digest(of.encode("utf-8", "surrogateescape"))[:40]

    def ids(self) -> tuple[str, ...]:
        """Return the ids of those whose manifests are here, the last used first."""
        found = []
        with suppress(OSError), os.scandir(self._folder) as entries:
            found = [(entry.stat().st_mtime_ns, entry.name) for entry in entries if is_sha256(entry.name)]
        return tuple(name for _, name in sorted(found, reverse=True)[:KEPT])

    def manifest(self, snapshot: str) -> bytes | None:
        """Return the manifest of one of them, verified; ``None`` when it is not here, or not whole."""
        path = self._folder / snapshot
        try:
            stream = zlib.decompressobj()
            data = stream.decompress(path.read_bytes(), MAX_MANIFEST_BYTES)
        except FileNotFoundError:
            return None
        except (OSError, zlib.error) as error:
            _log.warning("%s cannot be read, the next snapshot is told whole: %s", path, error)
            return None
        return data if snapshot_id(data) == snapshot else None

    def remember(self, snapshot: Snapshot) -> None:
        """Keep the manifest of a snapshot that a target has. A disk that refuses is logged."""
        path = self._folder / snapshot.id
        try:
            with suppress(FileNotFoundError):
                os.utime(path)
                return
            if not self._folder.exists():
                self._remove_unused()
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(str(path), zlib.compress(snapshot.manifest, _LEVEL))
            kept = self.ids()
            for file in self._folder.iterdir():
                if file.name not in kept and not is_temporary(file.name):  # else another process writes it
                    file.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("%s cannot be written, the next snapshot is told whole: %s", path, error)

    def _remove_unused(self) -> None:
        oldest = time.time() - UNUSED_SECONDS
        for folder in self._parent.glob("*"):
            with suppress(FileNotFoundError):  # another process removed it
                if folder.stat().st_mtime < oldest:
                    shutil.rmtree(folder)
