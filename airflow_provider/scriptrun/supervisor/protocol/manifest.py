"""The manifest of a snapshot: which files, exactly. Its canonical bytes are what is hashed, sent and kept.

``scriptrun-manifest-1\\n``, then for each entry, sorted by the bytes of its path, four netstrings
(``<length>:<bytes>,``): path, type, size, sha256 in hexadecimal or link target, and nothing else, so that no two
trees share a manifest. Types: ``f`` file, ``x`` executable file, ``l`` symbolic link, ``d`` empty directory.
"""

import hashlib
from typing import Iterable, List, NamedTuple

HEADER = b"scriptrun-manifest-1\n"
FILE, EXECUTABLE, LINK, DIRECTORY = "f", "x", "l", "d"
#: A manifest that comes from the other side and is longer than this is refused before it is read.
MAX_MANIFEST_BYTES = 512 * 1024 * 1024


class ManifestError(ValueError):
    """These bytes are no manifest, or one that names a path outside its root."""


class Entry(NamedTuple):
    """One path of a snapshot: bytes relative to the root with ``/`` between its parts."""

    path: bytes
    type: str
    size: int  #: bytes of the file; 0 for links and directories
    content: bytes  #: sha256 in hexadecimal of a file; target of a link; empty for a directory


def encode_entry(path: bytes, kind: str, size: int, content: bytes) -> bytes:
    """Return the part of a manifest that stands for one entry."""
    number = b"%d" % size
    return b"%d:%b,1:%b,%d:%b,%d:%b," % (
        len(path),
        path,
        kind.encode("ascii"),
        len(number),
        number,
        len(content),
        content,
    )


def encode(entries: Iterable[Entry]) -> bytes:
    """Return the canonical bytes of a manifest; the order of ``entries`` does not matter."""
    return HEADER + b"".join([encode_entry(*entry) for entry in sorted(entries)])


def snapshot_id(manifest: bytes) -> str:
    """Return the snapshot id: the sha256 of the canonical bytes."""
    return hashlib.sha256(manifest).hexdigest()


def decode(manifest: bytes) -> List[Entry]:
    """Return the entries of canonical bytes. Raises ``ManifestError``: nothing that comes over a wire is trusted."""
    if not manifest.startswith(HEADER):
        raise ManifestError("this is no manifest of version 1")
    entries: List[Entry] = []
    position = len(HEADER)
    fields: List[bytes] = []
    while position < len(manifest):
        colon = manifest.find(b":", position, position + 20)
        length = manifest[position:colon]
        if colon < 0 or not length.isdigit():
            raise ManifestError("damaged at byte %d" % position)
        end = colon + 1 + int(length)
        if manifest[end : end + 1] != b",":
            raise ManifestError("damaged at byte %d" % position)
        fields.append(manifest[colon + 1 : end])
        position = end + 1
        if len(fields) == 4:
            entries.append(_entry(*fields))
            fields = []
    if fields:
        raise ManifestError("ends inside an entry")
    if any(a.path >= b.path for a, b in zip(entries, entries[1:])):
        raise ManifestError("entries are not sorted, or one path stands twice")
    _check_tree(entries)
    return entries


def _check_tree(entries: List[Entry]) -> None:
    """Refuse a path below a file, a link or an empty directory: no tree has it, and a link would lead it outside."""
    leaves = {entry.path for entry in entries}
    folders = set()
    for entry in entries:
        folder = entry.path.rpartition(b"/")[0]
        while folder and folder not in folders:
            if folder in leaves:
                raise ManifestError("%r lies below what is no folder" % (entry.path,))
            folders.add(folder)
            folder = folder.rpartition(b"/")[0]


def _entry(path: bytes, kind: bytes, size: bytes, content: bytes) -> Entry:
    parts = path.split(b"/")
    if not path or b"\0" in path or any(part in (b"", b".", b"..") for part in parts):
        raise ManifestError("a path leaves its root: %r" % (path,))
    name = kind.decode("ascii", "replace")
    if name not in (FILE, EXECUTABLE, LINK, DIRECTORY) or not size.isdigit():
        raise ManifestError("entry of %r is damaged" % (path,))
    if name in (FILE, EXECUTABLE) and (len(content) != 64 or content.strip(b"0123456789abcdef")):
        raise ManifestError("entry of %r has no sha256" % (path,))
    if name == LINK and (not content or b"\0" in content):
        raise ManifestError("the link %r leads nowhere" % (path,))
    return Entry(path, name, int(size), content)
