"""A snapshot: the exact files of a source directory at one moment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..supervisor.protocol import manifest as format_
from .assembly import assemble
from .blob import BlobSource

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Mapping

    from ..supervisor.protocol.manifest import Entry
    from .folder import Share


@dataclass(frozen=True)
class Snapshot:
    """What ``take`` returns. ``manifest`` and ``entries`` are made when asked for; an unchanged tree costs neither."""

    id: str  #: sha256 of the manifest, 64 hexadecimal digits
    root: Path  #: the source directory, absolute
    files: int  #: how many files, links not counted
    bytes: int  #: of all files together
    changed: int  #: files that are new or changed since the last snapshot of this directory known to the cache
    ignored: int  #: names left out; a folder left out as a whole counts once
    warnings: list[str]  #: sentences for a person: soft limits that were passed, and what to do
    shares: Callable[[], Mapping[str, Share]] = field(repr=False, compare=False)  #: parts of the manifest
    fresh: Callable[[], dict[str, tuple[str, int]]] = field(repr=False, compare=False)  #: where the changed files are

    @cached_property
    def manifest(self) -> builtins.bytes:
        """The canonical bytes whose sha256 is ``id``."""
        return assemble(self.shares())

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The manifest's entries, sorted by path."""
        return tuple(format_.decode(self.manifest))

    def locate(self, sha256: str) -> Path:
        """Return a file of the source directory with these bytes. Raises ``KeyError`` when the snapshot has none."""
        return Path(self.open_blob(sha256).path)

    def open_blob(self, sha256: str) -> BlobSource:
        """Return the bytes of this hash, verified while read. Raises ``KeyError`` when the snapshot has none."""
        path, size = self._fresh.get(sha256) or self._blobs[sha256]
        return BlobSource(sha256, size, f"{self._prefix}{path}")

    @cached_property
    def _prefix(self) -> str:
        return f"{self.root}/" if self.root.name else "/"

    @cached_property
    def _fresh(self) -> dict[str, tuple[str, int]]:
        # What has to be sent is nearly always what has changed: for that, the manifest need not be read.
        return self.fresh()

    @cached_property
    def _blobs(self) -> dict[str, tuple[str, int]]:
        return {
            entry.content.decode("ascii"): (os.fsdecode(entry.path), entry.size)
            for entry in reversed(self.entries)
            if entry.type in (format_.FILE, format_.EXECUTABLE)
        }
