"""Hearing of changes in folders at once (inotify(7)), without a package for it."""

from __future__ import annotations

import os
import struct
import sys

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

# <sys/inotify.h>
IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_TO, IN_CREATE = 0x2, 0x8, 0x80, 0x100
IN_DELETE_SELF, IN_MOVE_SELF, IN_Q_OVERFLOW, IN_IGNORED = 0x400, 0x800, 0x4000, 0x8000
IN_ONLYDIR = 0x01000000
_MASK = IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR
_GONE = IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED
_HEAD = struct.Struct("iIII")  # wd, mask, cookie, length of the name behind it
_EVENTS_BYTES = 64 * 1024


class Inotify:
    """Watches folders. ``open_inotify`` makes one."""

    def __init__(self, library: Any, descriptor: int) -> None:
        self._library = library
        self.descriptor = descriptor  #: readable when something has changed
        self._numbers: Dict[str, int] = {}
        self._folders: Dict[int, str] = {}

    def watch(self, folder: str) -> bool:
        """Watch a folder too; return whether it is watched: it may not be there, and there are limits."""
        if folder in self._numbers:
            return True
        number = self._library.inotify_add_watch(self.descriptor, os.fsencode(folder), _MASK)
        if number < 0:
            return False
        self._numbers[folder], self._folders[number] = number, folder
        return True

    def forget(self, folder: str) -> None:
        """Watch a folder no more, if it is watched."""
        number = self._numbers.pop(folder, None)
        if number is not None:
            del self._folders[number]
            self._library.inotify_rm_watch(self.descriptor, number)

    def changes(self) -> Optional[List[Tuple[str, str, int]]]:
        """Return what has changed since the last call: (folder, name in it, mask); ``None`` when that was too much.

        An empty name means that the folder itself has gone from its place, and is not watched any more.
        """
        found: List[Tuple[str, str, int]] = []
        complete = True
        while True:
            try:
                events = os.read(self.descriptor, _EVENTS_BYTES)
            except BlockingIOError:
                return found if complete else None
            position = 0
            while position < len(events):
                number, mask, _, length = _HEAD.unpack_from(events, position)
                position += _HEAD.size + length
                complete = complete and not mask & IN_Q_OVERFLOW
                folder = self._folders.get(number)
                if folder is None:  # forgotten meanwhile
                    continue
                if mask & _GONE:
                    self.forget(folder)
                    found.append((folder, "", mask))
                else:
                    name = events[position - length : position].rstrip(b"\0")
                    found.append((folder, os.fsdecode(name), mask))


def open_inotify() -> Optional[Inotify]:
    """Return an inotify instance; ``None`` where there is none, or the user has too many (128 by default)."""
    if sys.platform != "linux":
        return None
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    descriptor = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    return None if descriptor < 0 else Inotify(library, descriptor)
