"""A snapshot of files that were found and hashed one by one: a single file, or what lies behind a URL."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from ..supervisor.protocol import manifest as format_

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable

    from ..supervisor.protocol.manifest import Entry

#: The path of the one file of a snapshot that is a file: whatever its name, the same content has the same id.
FILE_NAME = b"file"


@dataclass(frozen=True)
class Listed:
    """What ``take_file`` and ``take_url`` return. Nothing of it is kept: the bytes are read where they lie.

    :param is_file: it is a file, under ``FILE_NAME``, and no folder that holds one.
    """

    entries: tuple[Entry, ...]  #: sorted by path
    is_file: bool
    open_entry: Callable[[Entry], Iterable[bytes]] = field(repr=False, compare=False)  #: bytes, verified while read

    @cached_property
    def manifest(self) -> builtins.bytes:
        """The canonical bytes whose sha256 is ``id``."""
        return format_.encode(self.entries)

    @cached_property
    def id(self) -> str:
        """Sha256 of the manifest."""
        return format_.snapshot_id(self.manifest)

    @property
    def files(self) -> int:
        """How many files."""
        return len(self.entries)

    @cached_property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(entry.size for entry in self.entries)

    def open_blob(self, sha256: str) -> Iterable[builtins.bytes]:
        """Return the bytes of this hash, verified while read. Raises ``KeyError`` when the snapshot has none."""
        return self.open_entry(self._blobs[sha256])

    @cached_property
    def _blobs(self) -> dict[str, Entry]:
        return {entry.content.decode("ascii"): entry for entry in reversed(self.entries)}
