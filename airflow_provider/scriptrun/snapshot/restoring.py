"""A snapshot back into files."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SnapshotError
from ..supervisor.protocol import manifest
from .links import escapes
from .naming import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class RestoreFacts:
    """What a restore wrote."""

    files: int
    bytes: int


def restore(
    entries: Iterable[manifest.Entry], open_blob: Callable[[str], Iterable[bytes]], destination: Path
) -> RestoreFacts:
    """Write a snapshot's tree into ``destination``, which must not exist; it appears whole, or not at all.

    :param open_blob: gives the bytes of a sha256 in chunks; they are checked here again. It raises ``KeyError`` for a
        blob that it does not have.

    Raises ``SnapshotError``: the destination exists, a blob is missing or damaged, the entries contradict each other or
    lead outside, or the disk refuses.
    """
    listed = list(entries)
    _refuse_what_leaves(listed)
    if os.path.lexists(destination):
        raise SnapshotError(
            f"{shown(str(destination))} exists already", advice="Restore into a folder that is not there yet."
        )
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    except OSError as error:
        raise _refused(str(destination), error) from error
    try:
        tree = beside / "tree"
        facts = _write(listed, open_blob, os.fsencode(tree))
        tree.rename(destination)
    except OSError as error:
        raise _refused(str(destination), error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return facts


def _write(entries: list[manifest.Entry], open_blob: Callable[[str], Iterable[bytes]], root: bytes) -> RestoreFacts:
    made = {b""}
    os.mkdir(root)  # noqa: PTH102  (paths are bytes here)
    total = 0
    files = [entry for entry in entries if entry.type in (manifest.FILE, manifest.EXECUTABLE)]
    for entry in entries:
        _make_folders(root, entry.path if entry.type == manifest.DIRECTORY else entry.path.rpartition(b"/")[0], made)
    for entry in files:
        total += _write_file(root, entry, open_blob)
    # Last, so that nothing is ever written through a link.
    for entry in entries:
        if entry.type == manifest.LINK:
            os.symlink(entry.content, root + b"/" + entry.path)  # noqa: PTH211
    return RestoreFacts(len(files), total)


def _make_folders(root: bytes, folder: bytes, made: set[bytes]) -> None:
    missing = []
    while folder not in made:
        missing.append(folder)
        folder = folder.rpartition(b"/")[0]
    for path in reversed(missing):
        os.mkdir(root + b"/" + path)  # noqa: PTH102
        made.add(path)


def _write_file(root: bytes, entry: manifest.Entry, open_blob: Callable[[str], Iterable[bytes]]) -> int:
    sha256 = entry.content.decode("ascii")
    digest, size = hashlib.sha256(), 0
    mode = 0o777 if entry.type == manifest.EXECUTABLE else 0o666  # less the umask, as for any new file
    try:
        chunks = open_blob(sha256)
        with open(os.open(root + b"/" + entry.path, _CREATE, mode), "wb") as file:  # noqa: PTH123  (a descriptor)
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
    except KeyError as error:
        raise SnapshotError(f"The content of {shown(entry.path)} ({sha256}) is not kept any more") from error
    if digest.hexdigest() != sha256 or size != entry.size:
        raise SnapshotError(
            f"The kept content of {shown(entry.path)} is damaged",
            why=f"Expected {entry.size} bytes with sha256 {sha256}, found {size} with {digest.hexdigest()}",
        )
    return size


def _refuse_what_leaves(entries: list[manifest.Entry]) -> None:
    targets = {entry.path: entry.content for entry in entries if entry.type == manifest.LINK}
    for entry in entries:
        parts = entry.path.split(b"/")
        leaves = any(part in (b"", b".", b"..") for part in parts) or b"\0" in entry.path
        if leaves or (entry.type == manifest.LINK and escapes(entry.path, targets)):
            raise SnapshotError(f"{shown(entry.path)} leads outside the snapshot, which no snapshot of ours does")


def _refused(path: str, error: OSError) -> SnapshotError:
    name = error.filename if error.filename is not None else path
    return SnapshotError(
        f"The snapshot cannot be restored to {shown(path)}",
        why=f"{shown(name)}: {os.strerror(error.errno or 0)}",
        advice="Check the space and the permissions there; nothing was left behind.",
    )
