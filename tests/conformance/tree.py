"""A snapshot made of what stands in a test: names and contents, no folder and no cache."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.supervisor.protocol import manifest
from airflow_provider.scriptrun.supervisor.protocol.frames import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


@dataclass(frozen=True)
class Program:
    """An executable file."""

    content: bytes


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: bytes


class Folder:
    """An empty directory."""


class Tree:
    """A snapshot, and the record of which blobs were asked of it.

    :param files: path -> content (text or bytes: a file), :class:`Program`, :class:`Link` or :class:`Folder`.
    """

    is_file = False  #: as an input: whether ``inputs/<name>`` is to be its one file

    def __init__(self, files: Mapping[str | bytes, str | bytes | Program | Link | Folder]) -> None:
        self._blobs: dict[str, bytes] = {}
        self.opened: list[str] = []  #: what was asked for, in order
        entries = [self._entry(path.encode() if isinstance(path, str) else path, item) for path, item in files.items()]
        self.entries = sorted(entries)
        self.manifest = manifest.encode(entries)
        self.id = manifest.snapshot_id(self.manifest)
        self.trouble: BaseException | None = None  #: raised in place of the content of ``troubled``
        self.before_trouble: Callable[[], object] = lambda: None  #: called right before
        self.troubled: str | None = None
        self.lies: dict[str, bytes] = {}  #: other bytes than were announced

    def _entry(self, path: bytes, item: str | bytes | Program | Link | Folder) -> manifest.Entry:
        if isinstance(item, Link):
            return manifest.Entry(path, manifest.LINK, 0, item.target)
        if isinstance(item, Folder):
            return manifest.Entry(path, manifest.DIRECTORY, 0, b"")
        kind = manifest.EXECUTABLE if isinstance(item, Program) else manifest.FILE
        content = item.content if isinstance(item, Program) else item.encode() if isinstance(item, str) else item
        name = hashlib.sha256(content).hexdigest()
        self._blobs[name] = content
        return manifest.Entry(path, kind, len(content), name.encode())

    @property
    def blobs(self) -> list[str]:
        """The sha256 of each content, in the order in which a target asks for them."""
        return list(manifest.blobs_of(self.entries))

    def open_blob(self, sha256: str) -> Iterable[bytes]:
        self.opened.append(sha256)
        return self._read(sha256)

    def _read(self, sha256: str) -> Iterator[bytes]:
        content = self.lies.get(sha256, self._blobs[sha256])
        half = len(content) // 2
        yield from (content[at : at + CHUNK_BYTES] for at in range(0, half, CHUNK_BYTES))
        if sha256 == self.troubled and self.trouble is not None:
            self.before_trouble()
            raise self.trouble
        rest = content[-(-half // CHUNK_BYTES) * CHUNK_BYTES :]
        yield from (rest[at : at + CHUNK_BYTES] for at in range(0, len(rest), CHUNK_BYTES))


class OneFile(Tree):
    """An input that is a file."""

    is_file = True

    def __init__(self, item: str | bytes | Program) -> None:
        super().__init__({"file": item})
