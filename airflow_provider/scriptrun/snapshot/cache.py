"""The stat cache: what the last walk of a source directory found, kept so that nothing is hashed twice.

One file per source directory. Losing it costs time and nothing else, so whatever is wrong with it is logged and it is
made anew. ``marshal`` reads it an order of magnitude faster than JSON would, and is fit for nothing that somebody else
may have written: a file that is not ours, or that others may write, is not read.
"""

from __future__ import annotations

import hashlib
import logging
import marshal
import os
import stat as modes
import struct
import sys
import time
import zlib
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..supervisor.protocol.atomic import write_atomic
from .folder import Share

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from .folder import Sight

_log = logging.getLogger(__name__)

#: Raised by one with every change of what is kept. Names are as Python decodes them, numbers in the machine's order.
_FORMAT = f"scriptrun-stat-cache-1 {sys.byteorder} {sys.getfilesystemencoding()}\n".encode()
#: The oldest version that every supported Python reads and writes alike.
_MARSHAL_VERSION = 4
#: Lengths of the two parts (what is always needed, and the manifest in pieces), CRC-32 of both.
_HEADER = struct.Struct("<QQI")
#: A cache that was not written for so long is removed when another is first made: of a DAG bundle, each version has its
#: own directory.
_UNUSED_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Summary:
    """The snapshot of the last walk."""

    id: str
    rules: str  #: sha256 of what replaced every ``.gitignore``; empty when nothing did
    files: int
    bytes: int
    left_out: int
    largest: tuple[tuple[int, str], ...]


class DamagedError(Exception):
    """A cache does not hold what was written to it."""


class Memory:
    """What the last walk found."""

    def __init__(
        self,
        summary: Summary | None = None,
        sights: Mapping[str, tuple[str, bytes, bytes, tuple[str, ...]]] | None = None,
        shares: Mapping[str, Share] | Callable[[], Mapping[str, Share]] | None = None,
    ) -> None:
        """Without arguments: nothing, as before the first walk."""
        self.summary = summary
        self.sights = sights or {}
        self._shares = shares or {}

    @cached_property
    def shares(self) -> Mapping[str, Share]:
        """What each folder added to the manifest; unpacked when first asked for."""
        return self._shares() if callable(self._shares) else self._shares


class StatCache:
    """The file that remembers one source directory."""

    def __init__(self, cache_directory: Path, identity: bytes) -> None:
        """``identity`` is what the cache belongs to: the directory's real path, and what else verdicts depend on."""
        self._folder = cache_directory / "snapshots"
        self._path = self._folder / f"{hashlib.sha256(identity).hexdigest()[:40]}.stats"

    def load(self) -> Memory:
        """Return what is remembered; an empty memory when there is nothing that can be used."""
        try:
            return self._read()
        except FileNotFoundError:
            return Memory()
        except (OSError, DamagedError) as error:
            _log.warning("The stat cache %s is not used and is made anew: %s", self._path, error)
            return Memory()

    def _read(self) -> Memory:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123  (a descriptor)
            facts = os.fstat(descriptor)
            if not modes.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
                raise DamagedError("others than this user may have written it")
            data = file.readall()
        if not data.startswith(_FORMAT):
            raise DamagedError("it was written by another version")
        start = len(_FORMAT) + _HEADER.size
        if len(data) < start:
            raise DamagedError("it is cut off")
        first, second, checksum = _HEADER.unpack_from(data, len(_FORMAT))
        if len(data) != start + first + second:
            raise DamagedError("it is cut off")
        view = memoryview(data)[start:]
        if zlib.crc32(view) != checksum:
            raise DamagedError("its checksum does not match")
        summary, sights = _unpack(view[:first])
        return Memory(Summary(*summary), sights, lambda: _shares(view[first:]))

    def save(self, summary: Summary, sights: Mapping[str, Sight], shares: Mapping[str, Share]) -> None:
        """Remember a walk. A disk that refuses is logged: the snapshot does not need its cache."""
        first = marshal.dumps(
            (astuple(summary), {path: tuple(sight) for path, sight in sights.items()}), _MARSHAL_VERSION
        )
        second = marshal.dumps({path: tuple(share) for path, share in shares.items()}, _MARSHAL_VERSION)
        header = _HEADER.pack(len(first), len(second), zlib.crc32(second, zlib.crc32(first)))
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._path.exists():
                remove_unused(self._folder)
            write_atomic(str(self._path), b"".join([_FORMAT, header, first, second]))
        except OSError as error:
            _log.warning("The stat cache %s cannot be written, the next snapshot hashes again: %s", self._path, error)


def remove_unused(folder: Path) -> None:
    """Remove the caches in ``folder`` that were not written for a month."""
    oldest = time.time() - _UNUSED_SECONDS
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another process removed it
            if path.stat().st_mtime < oldest:
                path.unlink()


def _unpack(data: memoryview) -> Any:
    return marshal.loads(data)  # noqa: S302  (our own file, whole: see the module)


def _shares(data: memoryview) -> dict[str, Share]:
    return {path: Share._make(share) for path, share in _unpack(data).items()}
