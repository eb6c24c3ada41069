"""What a session knows of the runs that it is asked about, so that hundreds of quiet ones cost next to nothing.

A run is looked at when it is named first, when something has happened in its folder (heard by inotify), and every
:data:`LOOK_PAUSE_S` in any case. Where a folder cannot be listened to, the marks of its files are compared instead.
"""

from __future__ import annotations

import math
import os
import select
import time

from . import inotify, lease, promise
from .refusal import NO_SUCH_RUN, Refusal

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, Optional, Tuple

    from .layout import Layout, RunLayout
    from .serve import Input

#: Even when nothing is heard: not every change makes a sound (a tombstone, a reboot seen by another file).
LOOK_PAUSE_S = 5.0
#: Where a folder cannot be listened to, its files' marks are compared this often,
BLIND_PAUSE_S = 0.05
#: and more seldom where that would take more than this part of a core.
BLIND_SHARE = 0.05
STREAMS = ("run.log", "build.log", "messages.jsonl")
#: Their change, or being let go of, says something about the run's state, and about no stream.
_STATE = ("status.json", "alive", "promised", "")


class Watched:
    """One run as it was seen last: its status first, then how long its streams were."""

    __slots__ = ("document", "has_changed", "is_heard", "marks", "renewal", "run", "sizes", "wanted")

    def __init__(self, run: RunLayout) -> None:
        self.run = run
        self.renewal = lease.Renewal(run)
        self.document: Dict[str, Any] = {}
        self.sizes: Dict[str, int] = {}
        self.wanted: Iterable[str] = ()  #: the streams that somebody reads
        self.marks: List[Optional[Tuple[int, int, int]]] = []
        self.has_changed = True  #: or may have
        self.is_heard = False  #: whether its folder is listened to

    def look(self, layout: Layout) -> None:
        """Look at it anew. Raises ``Refusal``; it is looked at again then, whenever somebody asks."""
        self.has_changed = True
        for name in self.wanted:
            self.run.stream(name)
        self.marks = [] if self.is_heard else self._marks()  # before the look: what comes after it is another change
        document = promise.look(layout, self.run.id)
        if document is None:
            raise Refusal(NO_SUCH_RUN, "%s knows no run %s." % (layout.root, self.run.id))
        self.document = document
        self.sizes = {name: _size(self.run.stream(name)) for name in STREAMS}
        self.has_changed = False

    def compare(self) -> None:
        """See by the marks of its files whether it has changed."""
        self.has_changed = self.has_changed or self.marks != self._marks()

    def hear(self, name: str, mask: int) -> None:
        """Take note of an event in its folder."""
        if not name:
            self.is_heard = False
        if name in _STATE or (name in self.wanted and mask != inotify.IN_CLOSE_WRITE):
            self.has_changed = True

    def _marks(self) -> List[Optional[Tuple[int, int, int]]]:
        return [_mark(self.run.status), *(_mark(self.run.stream(name)) for name in self.wanted)]


class Lookout:
    """The runs of the latest ``poll`` of a session."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._ears: Optional[inotify.Inotify] = None
        self._has_ears = False  #: whether it was tried to get some
        self._watched: Dict[str, Watched] = {}  #: by folder
        self._look_at = 0.0
        self._blind_pause = BLIND_PAUSE_S

    def watch(self, wanted: Dict[str, Iterable[str]]) -> List[Watched]:
        """Watch these runs and no others: run id -> names of the streams that are read. Raises ``Refusal``."""
        known = {watched.run.id: watched for watched in self._watched.values()}
        for run_id in known.keys() - wanted.keys():
            watched = known.pop(run_id)
            del self._watched[watched.run.folder]
            if self._ears is not None:
                self._ears.forget(watched.run.folder)
        found = []
        is_deaf = self._has_ears and self._ears is None
        for run_id, streams in wanted.items():
            watched = known.get(run_id) or Watched(self._layout.run(run_id))
            if not (watched.is_heard or is_deaf) or not set(streams) <= set(watched.wanted):
                watched.has_changed = True
            watched.wanted = streams
            self._watched[watched.run.folder] = watched
            found.append(watched)
        return found

    def listen(self) -> bool:
        """Listen to the folders, from now on; return whether there are some that were not listened to before."""
        if not self._has_ears:
            self._has_ears, self._ears = True, inotify.open_inotify()
        if self._ears is None:
            return False
        new = [w for w in self._watched.values() if not w.is_heard and self._ears.watch(w.run.folder)]
        for watched in new:
            watched.is_heard = watched.has_changed = True
        return bool(new)

    def look(self) -> Dict[str, Refusal]:
        """Renew the leases that it is time for, look at what may have changed; return what cannot be spoken about."""
        now = time.monotonic()
        self._hear()
        self._compare([watched for watched in self._watched.values() if not watched.is_heard])
        if now >= self._look_at:
            self._look_at = now + LOOK_PAUSE_S
            for watched in self._watched.values():
                watched.has_changed = True
        refusals = {}
        for watched in self._watched.values():
            watched.renewal.renew(now)
            if watched.has_changed:
                try:
                    watched.look(self._layout)
                except Refusal as error:
                    refusals[watched.run.id] = error
        return refusals

    def wait(self, stream: Input, pause: float) -> bool:
        """Wait for a change, at most ``pause`` seconds; return ``False`` when the other side has something to say."""
        if stream.holds_bytes():
            return False
        waiting = select.poll()
        waiting.register(stream.descriptor, select.POLLIN)
        if self._ears is not None:
            waiting.register(self._ears.descriptor, select.POLLIN)
        due = min([time.monotonic() + pause, self._look_at, *(w.renewal.due for w in self._watched.values())])
        blind = [watched for watched in self._watched.values() if not watched.is_heard]
        while True:
            left = max(0.0, due - time.monotonic())
            limit = min(left, self._blind_pause) if blind else left
            ready = [descriptor for descriptor, _ in waiting.poll(math.ceil(limit * 1000))]
            if stream.descriptor in ready:
                return False
            self._hear()
            self._compare(blind)
            if time.monotonic() >= due or any(watched.has_changed for watched in self._watched.values()):
                return True

    def _hear(self) -> None:
        changes: Optional[List[Tuple[str, str, int]]] = [] if self._ears is None else self._ears.changes()
        if changes is None:
            self._look_at = 0.0
            for watched in self._watched.values():
                watched.has_changed = True
            return
        for folder, name, mask in changes:
            if folder in self._watched:
                self._watched[folder].hear(name, mask)

    def _compare(self, blind: List[Watched]) -> None:
        if blind:
            begin = time.monotonic()
            for watched in blind:
                watched.compare()
            self._blind_pause = max(BLIND_PAUSE_S, (time.monotonic() - begin) / BLIND_SHARE)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _mark(path: str) -> Optional[Tuple[int, int, int]]:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
