"""Trees that a script had its hands on: removed without trusting what lies in them.

No link is followed, no path is too long or too deep, and folders that a script closed (mode 0000) are opened again.
What goes is first moved into a trash folder of ours on the same file system: it is gone from its place at once, and
what a killed cleaner leaves there is removed by the next.
"""

import contextlib
import os
import stat
from typing import Collection, List

from ..layout import make_folder
from ..store.tree import open_folder


def remove(path: str, trash: str) -> List[OSError]:
    """Remove the tree at ``path``, and empty ``trash``; return what could not be removed (another user's files, say).

    Raises ``FileNotFoundError`` when there is nothing at ``path``, ``OSError`` when it cannot be moved.
    """
    top = open_folder(make_folder(trash))
    try:
        parent = open_folder(os.path.dirname(path))
        try:
            _move_up(parent, os.fsencode(os.path.basename(path)), top)
        finally:
            os.close(parent)
    finally:
        os.close(top)
    return empty(trash)


def clear(path: str, keep: Collection[bytes], trash: str) -> List[OSError]:
    """Remove what is in the folder ``path``, but for the names in ``keep``; return what could not be removed.

    One name after the other, so that a crash loses nothing that is to be kept. Raises ``OSError`` when ``path`` is no
    folder, or cannot be opened.
    """
    errors: List[OSError] = []
    top = open_folder(make_folder(trash))
    try:
        parent = open_folder(os.path.dirname(path))
        try:
            folder = _open_for_removal(parent, os.fsencode(os.path.basename(path)))
        finally:
            os.close(parent)
        try:
            _clear(folder, keep, top, errors)
        finally:
            os.close(folder)
    finally:
        os.close(top)
    return errors + empty(trash)


def _clear(folder: int, keep: Collection[bytes], top: int, errors: List[OSError]) -> None:
    with os.scandir(folder) as entries:
        found = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if name in keep:
            continue
        try:
            if is_folder:
                _move_up(folder, name, top)
            else:
                os.unlink(name, dir_fd=folder)
        except FileNotFoundError:  # another cleaner was faster
            continue
        except OSError as error:
            errors.append(error)


def empty(trash: str) -> List[OSError]:
    """Remove what is in the folder ``trash``, and only that; return what could not be removed.

    Folders inside are first moved up to ``trash`` itself, so however deep a tree is, the work is flat.
    """
    errors: List[OSError] = []
    top = open_folder(trash)
    try:
        kept = {b""}
        while True:
            names = [name for name in map(os.fsencode, os.listdir(top)) if name not in kept]
            if not names:
                return errors
            for name in names:
                try:  # the others can still go
                    _remove_one(top, name, errors)
                except FileNotFoundError:
                    continue  # another cleaner was faster
                except OSError as error:
                    errors.append(error)
                    kept.add(name)
    finally:
        os.close(top)


def _remove_one(top: int, name: bytes, errors: List[OSError]) -> None:
    """Remove ``name`` from ``top``; of a folder, its files, and itself once its folders have been moved up."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=top)
        return
    folder = _open_for_removal(top, name)
    try:
        _clear(folder, (), top, errors)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=top)


def _open_for_removal(parent: int, name: bytes) -> int:
    """Open a folder so that it can be emptied, whatever permissions a script left it with."""
    try:
        descriptor = open_folder(name, parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)  # within ``trash``, where no script is at work any more
        return open_folder(name, parent)
    if os.fstat(descriptor).st_mode & 0o700 != 0o700:
        with contextlib.suppress(PermissionError):
            os.fchmod(descriptor, 0o700)
    return descriptor


def _move_up(folder: int, name: bytes, top: int) -> None:
    fresh = os.urandom(8).hex().encode("ascii")
    try:
        os.rename(name, fresh, src_dir_fd=folder, dst_dir_fd=top)
    except PermissionError:  # moving a folder rewrites its "..", so it must be writable itself
        os.close(_open_for_removal(folder, name))
        os.rename(name, fresh, src_dir_fd=folder, dst_dir_fd=top)
