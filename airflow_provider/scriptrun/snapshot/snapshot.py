"""A snapshot: the exact files of a source directory at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ..supervisor.protocol.manifest import Entry
    from .blob import BlobSource


@dataclass(frozen=True)
class Snapshot:
    """What ``take`` returns. ``manifest`` and ``entries`` are made when first asked for; nothing else costs anything."""

    id: str  #: sha256 of the manifest, 64 hexadecimal digits
    root: Path  #: the source directory, absolute
    files: int  #: how many files, links not counted
    bytes: int  #: of all files together
    changed: int  #: files that are new or changed since the last snapshot of this directory known to the cache
    ignored: int  #: names left out; a folder left out as a whole counts once
    warnings: list[str]  #: sentences for a person: soft limits that were passed, and what to do

    @property
    def manifest(self) -> bytes:
        """The canonical bytes whose sha256 is ``id``."""
        raise NotImplementedError

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The manifest's entries, sorted by path."""
        raise NotImplementedError

    def locate(self, sha256: str) -> Path:
        """Return a file of the source directory with these bytes. Raises ``KeyError`` when the snapshot has none."""
        raise NotImplementedError

    def open_blob(self, sha256: str) -> BlobSource:
        """Return the bytes of this hash, read and verified while iterated. Raises ``KeyError`` when the snapshot has none."""
        raise NotImplementedError
