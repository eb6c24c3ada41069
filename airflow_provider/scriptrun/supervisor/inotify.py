"""Hearing of changes in folders at once (inotify(7)), without a package for it."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Optional

IN_MODIFY, IN_MOVED_TO, IN_CREATE, IN_DELETE_SELF = 0x2, 0x80, 0x100, 0x400  # <sys/inotify.h>
IN_ONLYDIR = 0x01000000
_MASK = IN_MODIFY | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_ONLYDIR
_EVENTS_BYTES = 64 * 1024


class Inotify:
    """Watches folders. ``open_inotify`` makes one."""

    def __init__(self, library: Any, descriptor: int) -> None:
        self._library = library
        self.descriptor = descriptor  #: readable when something has changed
        self._watches: Dict[str, int] = {}

    def watch(self, folders: Iterable[str]) -> bool:
        """Watch these folders and no others; return whether all of them are watched (there are limits)."""
        wanted = set(folders)
        for folder in set(self._watches) - wanted:
            self._library.inotify_rm_watch(self.descriptor, self._watches.pop(folder))
        for folder in wanted:
            number = self._library.inotify_add_watch(self.descriptor, os.fsencode(folder), _MASK)
            if number >= 0:
                self._watches[folder] = number
        return len(self._watches) == len(wanted)

    def forget_events(self) -> None:
        """Read and drop the events that have arrived."""
        try:
            while os.read(self.descriptor, _EVENTS_BYTES):
                pass
        except BlockingIOError:
            pass


def open_inotify() -> Optional[Inotify]:
    """Return an inotify instance; ``None`` where there is none, or the user has too many (128 by default)."""
    if sys.platform != "linux":
        return None
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    descriptor = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    return None if descriptor < 0 else Inotify(library, descriptor)
