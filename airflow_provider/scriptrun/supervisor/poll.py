"""The ``poll`` request: what is new about some runs, at once when there is something, else as soon as there is.

A run's status is read before its streams, so a verdict means that the streams are whole: what the status says has been
written is there. Every named run's lease is renewed.
"""

from __future__ import annotations

import math
import os
import select
import time

from . import inotify, journal, lease, state
from .protocol.frames import CHUNK_BYTES
from .refusal import NO_SUCH_RUN, Refusal

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from .layout import Layout, RunLayout
    from .serve import Channel

#: Even when nothing is heard: a supervisor and a guard that were both killed write nothing, and leases want renewing.
LOOK_PAUSE_S = 1.0
#: Where folders cannot be watched.
BLIND_PAUSE_S = 0.05
DEFAULT_MAX_BYTES = 4 * 1024 * 1024
#: A run gets at least this much of a reply, however many others have news.
MIN_SHARE_BYTES = 64 * 1024


class News:
    """What there is to say about one run."""

    __slots__ = ("document", "error", "run", "streams")

    def __init__(self, run: RunLayout, document: Dict[str, Any], streams: List[Tuple[str, int, int]]) -> None:
        self.run, self.document = run, document
        self.streams = streams  #: (name, offset, size now)
        self.error: Optional[Refusal] = None


def poll(request: Dict[str, Any], channel: Channel) -> None:
    """Answer the ``poll`` request."""
    wanted: List[Dict[str, Any]] = request.get("runs") or []
    runs = [channel.layout.run(item.get("id")) for item in wanted]  # type: ignore[arg-type]  # checked there
    deadline = time.monotonic() + float(request.get("wait_s") or 0.0)
    ears: Optional[inotify.Inotify] = None
    while True:
        for run in runs:
            lease.renew(run.lease)
        found = [_look(channel.layout, run, item) for run, item in zip(runs, wanted)]
        news = [item for item in found if item is not None]
        left = deadline - time.monotonic()
        if news or left <= 0:
            break
        if ears is None:
            ears = _ears(channel, runs)
            if ears is not None:
                continue  # look again: something may have happened before we began to listen
        if not _wait(channel, ears, min(left, LOOK_PAUSE_S if ears else BLIND_PAUSE_S)):
            break
    max_bytes = int(request.get("max_bytes") or DEFAULT_MAX_BYTES)
    share = max(min(MIN_SHARE_BYTES, max_bytes), max_bytes // max(1, len(news)))
    for item in news:
        _send(channel, item, share)
    channel.writer.json({"end": True})


def _look(layout: Layout, run: RunLayout, item: Dict[str, Any]) -> Optional[News]:
    """Return what is new about a run; ``None`` when nothing is."""
    try:
        document = _known(layout, run)
        offsets = item.get("streams") or {}
        streams = [(name, int(offset), _size(run.stream(name))) for name, offset in offsets.items()]
    except Refusal as error:
        news = News(run, {}, [])
        news.error = error
        return news
    if document["serial"] == item.get("seen") and all(size <= offset for _, offset, size in streams):
        return None
    return News(run, document, streams)


def _known(layout: Layout, run: RunLayout) -> Dict[str, Any]:
    document = state.look(layout, run.id)
    if document is None:
        raise Refusal(NO_SUCH_RUN, "%s knows no run %s." % (layout.root, run.id))
    return document


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _ears(channel: Channel, runs: List[RunLayout]) -> Optional[inotify.Inotify]:
    if channel.inotify is None:
        channel.inotify = inotify.open_inotify()
    if channel.inotify is None or not channel.inotify.watch(run.folder for run in runs):
        return None
    return channel.inotify


def _wait(channel: Channel, ears: Optional[inotify.Inotify], pause: float) -> bool:
    """Wait for a change; return ``False`` when the other side has something to say instead, or has gone."""
    if channel.input.holds_bytes():
        return False
    waiting = select.poll()
    waiting.register(channel.input.descriptor, select.POLLIN)
    if ears is not None:
        waiting.register(ears.descriptor, select.POLLIN)
    ready = dict(waiting.poll(math.ceil(pause * 1000)))
    if ears is not None and ears.descriptor in ready:
        ears.forget_events()
    return channel.input.descriptor not in ready


def _send(channel: Channel, news: News, share: int) -> None:
    if news.error is not None:
        channel.writer.json({"run": news.run.id, "error": news.error.document()})
        return
    parts = {}
    for name, offset, size in news.streams:
        length = min(max(0, size - offset), share)
        share -= length
        parts[name] = {"offset": offset, "length": length, "size": size}
    channel.writer.json({"run": news.run.id, "status": journal.public(news.document), "streams": parts})
    for name, part in parts.items():
        _send_part(channel, news.run.stream(name), part["offset"], part["length"])
        channel.writer.end()


def _send_part(channel: Channel, path: str, offset: int, length: int) -> None:
    if length == 0:
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while length > 0:
            chunk = os.pread(descriptor, min(CHUNK_BYTES, length), offset)
            if not chunk:  # a script has shortened its own messages
                return
            channel.writer.data(chunk)
            offset += len(chunk)
            length -= len(chunk)
    finally:
        os.close(descriptor)
