"""What is known of one folder of a source directory, in a form that is kept and compared as it is."""

from __future__ import annotations

from array import array
from itertools import chain, compress
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from ..supervisor.protocol import manifest

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

#: What tells that a file is the one that was hashed: any write changes ctime, which nobody can set.
STAT = attrgetter("st_mode", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
Stat = tuple[int, int, int, int, int]
#: No file has it: stands for what must be looked at again.
IMPOSSIBLE_STAT: Stat = (0, 0, 0, 0, 0)
_PACKED_BYTES = 40

#: Kinds of names, one byte each: a file, a link, a folder to enter; left out: a folder, an ignore file, others.
FILE, LINK, FOLDER, LEFT_OUT_FOLDER, LEFT_OUT_RULES, LEFT_OUT = b"flodri"
#: The kinds whose stat is compared: a folder is entered anyway; of what is left out, only ignore files matter.
_WATCHED = frozenset({FILE, LINK, LEFT_OUT_RULES})
_FOLDERS = frozenset({FOLDER, LEFT_OUT_FOLDER})
_LEFT_OUT = frozenset({LEFT_OUT, LEFT_OUT_FOLDER, LEFT_OUT_RULES})
_IS_WATCHED = bytes(kind in _WATCHED for kind in range(256))
_IS_UNWATCHED = bytes(kind not in _WATCHED for kind in range(256))


class Sight(NamedTuple):
    """What a folder looked like: while it looks the same, everything said of it still holds."""

    names: str  #: all names in the order in which the file system gave them, with ``/`` between
    kinds: bytes  #: one byte for each name; none at all for a virtual environment
    stats: bytes  #: packed stats of the watched names, in order
    folders: tuple[str, ...]  #: paths, from the root, of the folders to enter


class Share(NamedTuple):
    """What a folder adds to the manifest: ``fragments[0]``, ``slots[0]``, ``fragments[1]``, ... in its order.

    A slot is the path of a folder below, where its entry goes if it is empty, or the same with a ``/``, where what
    it holds goes: the two places differ, because ``a``, ``a-b``, ``a/c`` is the order of bytes.
    """

    fragments: tuple[bytes, ...]
    slots: tuple[str, ...]
    files: int
    total: int  #: bytes of these files
    left_out: int
    largest: tuple[tuple[int, str], ...]  #: size and path of the folder's largest files
    empty: bytes  #: the entry of the folder itself when there is nothing in it at all


def looks_the_same(entries: list[os.DirEntry[str]], kinds: bytes, stats: bytes) -> bool:
    """Whether a folder with the names of old still holds the files, links and folders of old."""
    if not kinds:  # nothing is in it, or it is a virtual environment, of which only the names matter
        return True
    watched = kinds.translate(_IS_WATCHED)
    if b"\0" in watched:
        others = compress(entries, kinds.translate(_IS_UNWATCHED))
        are_folders = [entry.is_dir(follow_symlinks=False) for entry in others]
        if are_folders != [kind in _FOLDERS for kind in kinds if kind not in _WATCHED]:
            return False
        entries = list(compress(entries, watched))
    return pack([STAT(entry.stat(follow_symlinks=False)) for entry in entries]) == stats


def pack(stats: Iterable[Stat]) -> bytes:
    """Return stats as bytes to be compared and kept."""
    values = chain.from_iterable(stats)
    try:
        return array("q", values).tobytes()
    except OverflowError:  # an inode number of 64 bits, as some network file systems have
        wrapped = [value if value < 1 << 63 else value - (1 << 64) for value in chain.from_iterable(stats)]
        return array("q", wrapped).tobytes()


class Recollection:
    """What the last walk said of one folder, name by name."""

    def __init__(self, sight: Sight | None = None, fragments: Iterable[bytes] = ()) -> None:
        names, kinds, stats = (sight.names.split("/"), sight.kinds, sight.stats) if sight else ([], b"", b"")
        self._kinds = dict(zip(names, kinds, strict=False))
        packed = (stats[at : at + _PACKED_BYTES] for at in range(0, len(stats), _PACKED_BYTES))
        self._stats = dict(zip(compress(names, kinds.translate(_IS_WATCHED)), packed, strict=True))
        self.is_empty = sight is None
        self._entries = {entry.path: entry for entry in manifest.decode(manifest.HEADER + b"".join(fragments))}

    def forget_verdicts(self) -> None:
        """Say of no name any more whether it is left out."""
        self._kinds = {}

    def left_out(self, name: str, is_folder: bool) -> bool | None:
        """Whether the name was left out; ``None`` when it was not there, or was not the folder that it is now."""
        kind = self._kinds.get(name)
        if kind is None or (kind in _FOLDERS) != is_folder:
            return None
        return kind in _LEFT_OUT

    def has_stat(self, name: str, stat: Stat | None) -> bool:
        """Whether the name had this stat; ``None``: whether it was not watched."""
        return self._stats.get(name) == (None if stat is None else pack([stat]))

    def entry(self, path: bytes) -> manifest.Entry | None:
        """Return what the last manifest said of a path."""
        return self._entries.get(path)
