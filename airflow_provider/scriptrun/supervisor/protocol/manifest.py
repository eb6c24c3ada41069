"""The manifest of a snapshot: which files, exactly. Its canonical bytes are what is hashed, sent and kept.

``scriptrun-manifest-1\\n``, then for each entry, sorted by the bytes of its path, four netstrings
(``<length>:<bytes>,``): path, type, size, sha256 in hexadecimal or link target, and nothing else, so that no two
trees share a manifest. Types: ``f`` file, ``x`` executable file, ``l`` symbolic link, ``d`` empty directory.
"""

import hashlib
import re
from operator import lt
from typing import Dict, Iterable, List, NamedTuple, Optional

HEADER = b"scriptrun-manifest-1\n"
FILE, EXECUTABLE, LINK, DIRECTORY = "f", "x", "l", "d"
#: A manifest that comes from the other side and is longer than this is refused before it is read.
MAX_MANIFEST_BYTES = 512 * 1024 * 1024

# Numbers as ``encode`` writes them: with more zeros before them, one tree would have two manifests.
_PLAIN_ENTRY = re.compile(
    rb"([1-9][0-9]{0,8}):([^,]+),1:([fxld]),([1-9][0-9]?):(0|[1-9][0-9]*),(0|[1-9][0-9]{0,8}):([^,]*),"
)
_PUNCTUATION_BYTES = len(b":,1:,:,:,")
_PATH_LENGTH = re.compile(rb"([1-9][0-9]{0,8}):")
_TYPE_AND_SIZE = re.compile(rb",1:([fxld]),([1-9][0-9]?):(0|[1-9][0-9]*),(0|[1-9][0-9]{0,8}):")
#: An empty part, ``.`` or ``..`` between slashes, or what no path may hold.
_LEAVES = (b"//", b"/./", b"/../", b"\0")
_HEXADECIMAL = re.compile(rb"[0-9a-f]*\Z")
_FILES = frozenset((FILE, EXECUTABLE))
_TYPES = {name.encode("ascii"): name for name in (FILE, EXECUTABLE, LINK, DIRECTORY)}


class ManifestError(ValueError):
    """These bytes are no manifest, or one that names a path outside its root."""


class Entry(NamedTuple):
    """One path of a snapshot: bytes relative to the root with ``/`` between its parts."""

    path: bytes
    type: str
    size: int  #: bytes of the file; 0 for links and directories
    content: bytes  #: sha256 in hexadecimal of a file; target of a link; empty for a directory


def blobs_of(entries: Iterable[Entry]) -> Dict[str, int]:
    """Return the size of each blob that ``entries`` name, by sha256, each once, in their order.

    Both sides number the blobs of a snapshot by their places in it.
    """
    return {entry.content.decode("ascii"): entry.size for entry in entries if entry.type in _FILES}


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
    entries = _decode_plain(manifest)
    if entries is None:
        entries = _decode_any(manifest)
    _check_paths(entries)
    _check_contents(entries)
    _check_tree(entries)
    return entries


def _decode_plain(manifest: bytes) -> Optional[List[Entry]]:
    """Return what ``_decode_any`` does, in a third of the time; ``None`` where that may be otherwise: with a comma."""
    found = _PLAIN_ENTRY.findall(manifest, len(HEADER))
    if not found:
        return None
    columns = list(zip(*found))
    path_lengths, paths, kinds, size_lengths, sizes, content_lengths, contents = columns
    # Nothing stands between the entries that were found, each is as long as it says, and they are in order.
    is_whole = (
        len(HEADER) + len(found) * _PUNCTUATION_BYTES + sum([len(b"".join(column)) for column in columns])
        == len(manifest)
        and list(map(int, path_lengths)) == list(map(len, paths))
        and list(map(int, size_lengths)) == list(map(len, sizes))
        and list(map(int, content_lengths)) == list(map(len, contents))
        and all(map(lt, paths, paths[1:]))
    )
    if not is_whole:
        return None
    return list(map(Entry, paths, map(_TYPES.__getitem__, kinds), map(int, sizes), contents))


def _decode_any(manifest: bytes) -> List[Entry]:
    entries: List[Entry] = []
    position = len(HEADER)
    last = b""
    while position < len(manifest):  # tens of thousands of times: what can be checked at once is checked at the end
        head = _PATH_LENGTH.match(manifest, position)
        start = head.end() if head else position
        end = start + int(head.group(1)) if head else position
        rest = _TYPE_AND_SIZE.match(manifest, end)
        if rest is None:
            raise ManifestError("damaged at byte %d" % position)
        path = manifest[start:end]
        kind, digits, size, length = rest.groups()
        start = rest.end()
        end = start + int(length)
        if manifest[end : end + 1] != b"," or len(size) != int(digits):
            raise ManifestError("damaged at byte %d" % position)
        if path <= last:
            raise ManifestError("entries are not sorted, one path stands twice, or one is empty: %r" % (path,))
        entries.append(Entry(path, _TYPES[kind], int(size), manifest[start:end]))
        last = path
        position = end + 1
    return entries


def split(manifest: bytes) -> List[bytes]:
    """Return the parts of canonical bytes, unchecked: the header, then what stands for each entry.

    Raises ``ManifestError`` where one cannot be told from the next.
    """
    parts = [HEADER]
    position = len(HEADER)
    while position < len(manifest):
        head = _PATH_LENGTH.match(manifest, position)
        rest = _TYPE_AND_SIZE.match(manifest, head.end() + int(head.group(1))) if head else None
        if rest is None:
            raise ManifestError("damaged at byte %d" % position)
        end = rest.end() + int(rest.group(4)) + 1
        parts.append(manifest[position:end])
        position = end
    return parts


def _check_paths(entries: List[Entry]) -> None:
    """Refuse a path that leaves its root. One search: the parts of all paths joined are those of each."""
    if entries and _leaves(b"/".join([entry.path for entry in entries])):
        path = next(entry.path for entry in entries if _leaves(entry.path))
        raise ManifestError("a path leaves its root: %r" % (path,))


def _leaves(path: bytes) -> bool:
    whole = b"/%b/" % path
    return any(part in whole for part in _LEAVES)


def _check_contents(entries: List[Entry]) -> None:
    hashes = [entry.content for entry in entries if entry.type in _FILES]
    if not {64}.issuperset(map(len, hashes)) or not _HEXADECIMAL.match(b"".join(hashes)):
        raise ManifestError("what should be a sha256 is none")
    for entry in [entry for entry in entries if entry.type not in _FILES]:
        if entry.type == LINK and (entry.size or not entry.content or b"\0" in entry.content):
            raise ManifestError("the link %r leads nowhere, or has a size" % (entry.path,))
        if entry.type == DIRECTORY and (entry.size or entry.content):
            raise ManifestError("the folder %r has a size, or content" % (entry.path,))


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
