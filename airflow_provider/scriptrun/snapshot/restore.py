"""A snapshot back into files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ..supervisor.protocol.manifest import Entry


@dataclass(frozen=True)
class RestoreFacts:
    """What a restore wrote."""

    files: int
    bytes: int


def restore(entries: Iterable[Entry], open_blob: Callable[[str], Iterable[bytes]], destination: Path) -> RestoreFacts:
    """Write a snapshot's tree into ``destination``, which must not exist; it appears whole, or not at all.

    :param open_blob: gives the bytes of a sha256 in chunks; they are checked here again.

    Raises ``SnapshotError``: the destination exists, a blob is missing or damaged (``open_blob`` raised ``KeyError`` or
    its bytes do not match), the entries contradict each other, or the disk refuses.
    """
    raise NotImplementedError
