"""Folders that a script had its hands on: walked and measured without trusting what lies in them.

No link is followed, no file is opened, depth is bounded by memory alone (neither by ``PATH_MAX``, nor by descriptors,
nor by Python's stack), names are bytes.
"""

import contextlib
import errno
import os
import stat
from typing import Callable, Iterator, List, NamedTuple, Optional, Tuple, Union

#: How a folder is opened: never through a link.
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: ``st_blocks`` counts these, whatever the file system's block size (POSIX, sys/stat.h).
STAT_BLOCK_BYTES = 512

OnError = Callable[[bytes, OSError], None]


class Listing(NamedTuple):
    """One folder of a walk."""

    path: bytes  #: relative to where the walk began, with a slash at its end; empty for the beginning
    descriptor: int  #: of the folder; good until the walk goes on
    names: List[Tuple[bytes, int]]  #: name and file type (``stat.S_IFMT``) of all that is no folder, sorted


class Size(NamedTuple):
    """What a tree takes on the disk (holes of sparse files do not count), and when its youngest part was changed."""

    bytes: int
    files: int


class _Level(NamedTuple):
    name: bytes
    identity: Tuple[int, int]
    folders: List[bytes]  # still to be entered, last first


def umask() -> int:
    """Return the permission bits that this process's new files lose. Only setting it can read it (umask(2))."""
    current = os.umask(0o077)
    os.umask(current)
    return current


def open_folder(path: Union[str, bytes], parent: Optional[int] = None) -> int:
    """Open a folder that is no link. Raises ``OSError`` (``ENOTDIR`` or ``ELOOP`` for a link)."""
    return os.open(path, FOLDER_FLAGS, dir_fd=parent)


def open_own_folder(path: str) -> int:
    """Open a folder that no script had its hands on: a person may have put a link in its place, to a larger disk."""
    return os.open(path, FOLDER_FLAGS & ~os.O_NOFOLLOW)


def walk(top: int, on_error: OnError) -> Iterator[Listing]:
    """Walk the folder that ``top`` is a descriptor of, parents first, siblings in the order of their bytes.

    One descriptor is open at a time: going up is ``..``, checked to lead where it came from (as fts(3) does).
    A folder that cannot be read, or that was moved while it was walked, goes to ``on_error`` with its path.
    """
    current = open_folder(b".", top)
    try:
        levels: List[_Level] = []
        path = b""
        name = b""
        while True:
            listing, folders = _read(current, path, on_error)
            levels.append(_Level(name, _identity(current), folders))
            yield listing
            child = None
            while child is None:
                level = levels[-1]
                while child is None and level.folders:
                    name = level.folders.pop()
                    try:
                        child = open_folder(name, current)
                    except OSError as error:
                        on_error(path + name, error)
                if child is not None:
                    break
                levels.pop()
                if not levels:
                    return
                parent = open_folder(b"..", current)
                os.close(current)
                current = parent
                if _identity(current) != levels[-1].identity:
                    on_error(path, OSError(errno.ESTALE, "was moved while it was read"))
                    return
                path = path[: len(path) - len(level.name) - 1]
            os.close(current)
            current = child
            path += name + b"/"
    finally:
        os.close(current)


def _identity(descriptor: int) -> Tuple[int, int]:
    facts = os.fstat(descriptor)
    return facts.st_dev, facts.st_ino


def _read(descriptor: int, path: bytes, on_error: OnError) -> Tuple[Listing, List[bytes]]:
    names: List[Tuple[bytes, int]] = []
    folders: List[bytes] = []
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                elif entry.is_file(follow_symlinks=False):
                    names.append((name, stat.S_IFREG))
                elif entry.is_symlink():
                    names.append((name, stat.S_IFLNK))
                else:
                    names.append((name, 0))
    except OSError as error:
        on_error(path, error)
    names.sort()
    folders.sort(reverse=True)
    return Listing(path, descriptor, names), folders


def measure(path: str) -> Size:
    """Return what the tree at ``path`` takes; what cannot be read, or is not there, counts nothing."""
    total = files = 0
    try:
        top = open_folder(path)
    except OSError:
        return Size(0, 0)
    try:
        for listing in walk(top, _ignore):
            for name, _ in listing.names:
                with contextlib.suppress(OSError):
                    facts = os.stat(name, dir_fd=listing.descriptor, follow_symlinks=False)
                    total += facts.st_blocks * STAT_BLOCK_BYTES
                    files += 1
    finally:
        os.close(top)
    return Size(total, files)


def _ignore(path: bytes, error: OSError) -> None:
    """What cannot be read cannot be measured."""
