"""The ``poll`` request: what is new about some runs, at once when there is something, else as soon as there is.

A run's status is read before its streams, so a verdict means that the streams are whole: what the status says has been
written is there. Every named run's lease is renewed.
"""

from __future__ import annotations

import os
import time

from . import journal
from .layout import check_run_id
from .lookout import Lookout
from .protocol.frames import CHUNK_BYTES

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from .layout import RunLayout
    from .lookout import Watched
    from .refusal import Refusal
    from .serve import Channel

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
    wanted: Dict[str, Dict[str, Any]] = {check_run_id(item.get("id")): item for item in request.get("runs") or []}
    deadline = time.monotonic() + float(request.get("wait_s") or 0.0)
    if channel.lookout is None:
        channel.lookout = Lookout(channel.layout)
    lookout = channel.lookout
    watched = lookout.watch({run_id: item.get("streams") or {} for run_id, item in wanted.items()})
    listens = False
    while True:
        refusals = lookout.look()
        found = [_compare(item, wanted[item.run.id], refusals.get(item.run.id)) for item in watched]
        news = [item for item in found if item is not None]
        left = deadline - time.monotonic()
        if news or left <= 0:
            break
        if not listens:
            listens = True
            if lookout.listen():
                continue  # look again: something may have happened before we began to listen
        if not lookout.wait(channel.input, left):
            break
    max_bytes = int(request.get("max_bytes") or DEFAULT_MAX_BYTES)
    share = max(min(MIN_SHARE_BYTES, max_bytes), max_bytes // max(1, len(news)))
    for item in news:
        _send(channel, item, share)
    channel.writer.json({"end": True})


def _compare(watched: Watched, item: Dict[str, Any], refusal: Optional[Refusal]) -> Optional[News]:
    """Return what is new about a run; ``None`` when nothing is."""
    if refusal is not None:
        news = News(watched.run, {}, [])
        news.error = refusal
        return news
    streams = [(name, int(offset), watched.sizes[name]) for name, offset in (item.get("streams") or {}).items()]
    if watched.document["serial"] == item.get("seen") and all(size <= offset for _, offset, size in streams):
        return None
    return News(watched.run, watched.document, streams)


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
