"""One of many readers of a host's runs, as far as it can be told without asking: what to ask next, what is for whom.

No I/O, no locks, no clock. ``host_watch`` asks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.targets.contract import Cursor, News, StreamPart

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider.scriptrun.targets.contract import Stream

#: A reader that has not taken so many news is asked for no more until it has taken some.
NEWS_AHEAD = 2
#: When all readers together have left so much untaken, those who have left something are passed over, and the others
#: get the least share.
HELD_BYTES = 32 * 1024 * 1024


class Follower:
    """One reader of one run.

    :param cursor: where it begins.
    """

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor  #: behind everything that it was given
        self.listens = False  #: whether the latest question asked for news for it
        self._untaken: list[int] = []  #: bytes of each piece of news that it was given and has not taken
        self._missed = -1  #: the latest status that came while it did not listen
        self._is_mute = False  #: nothing could be said about its run while it did not listen

    @property
    def held_bytes(self) -> int:
        """What it was given and has not taken."""
        return sum(self._untaken)

    def is_behind(self, *, is_crowded: bool = False) -> bool:
        """Whether it has enough for now; ``is_crowded``: all of them together hold too much."""
        return len(self._untaken) >= (1 if is_crowded else NEWS_AHEAD)

    def asks(self, *, is_crowded: bool = False) -> Cursor | None:
        """Return what to ask for it: of one that is behind nothing but its run's lease; ``None`` for nothing at all."""
        self.listens = not self.is_behind(is_crowded=is_crowded)
        if self.listens:
            self._missed, self._is_mute = -1, False
            return self.cursor
        if self._is_mute:
            return None
        return Cursor(self.cursor.run_id, max(self._missed, self.cursor.seen), {})

    def takes(self, news: News) -> News | None:
        """Return what of the answer to the latest question is for it, and go on behind that; ``None`` for nothing."""
        if not self.listens:
            self._is_mute = news.error is not None
            self._missed = self._missed if news.status is None else news.status.serial
            return None
        parts = tuple(self._parts(news.parts))
        is_old = news.error is None and (news.status is None or news.status.serial == self.cursor.seen)
        if is_old and not any(part.data for part in parts):
            return None
        mine = replace(news, parts=parts)
        self.cursor = self.cursor.after(mine)
        self._untaken.append(sum(len(part.data) for part in parts))
        return mine

    def taken(self) -> None:
        """The reader has dealt with the oldest piece of news that it was given."""
        if self._untaken:
            self._untaken.pop(0)

    def leave_out(self, stream: Stream) -> None:
        """Read this stream no more; the status is read anew, since it may be the last one."""
        rest = {name: offset for name, offset in self.cursor.offsets.items() if name is not stream}
        self.cursor = replace(self.cursor, seen=-1, offsets=rest)

    def _parts(self, parts: Iterable[StreamPart]) -> Iterator[StreamPart]:
        for part in parts:
            offset = self.cursor.offsets.get(part.stream)
            if offset is not None and offset >= part.offset:
                yield StreamPart(part.stream, offset, part.data[offset - part.offset :], part.size)


def is_crowded(followers: Iterable[Follower]) -> bool:
    """Whether all of them together hold so much that whoever holds something must take it first."""
    return sum(follower.held_bytes for follower in followers) >= HELD_BYTES


def next_question(followers: Iterable[Follower], *, is_crowded: bool = False) -> Mapping[str, Cursor]:
    """Return what to ask about each run.

    Two readers of one run are asked for from where the one is that has read less.
    """
    asked: dict[str, Cursor] = {}
    renewed: dict[str, Cursor] = {}
    for follower in followers:
        cursor = follower.asks(is_crowded=is_crowded)
        if cursor is not None:
            place = asked if follower.listens else renewed
            other = place.get(cursor.run_id)
            place[cursor.run_id] = cursor if other is None else _both(cursor, other)
    return {**renewed, **asked}


def _both(one: Cursor, other: Cursor) -> Cursor:
    offsets: dict[Stream, int] = dict(one.offsets)
    for stream, offset in other.offsets.items():
        offsets[stream] = min(offset, offsets.get(stream, offset))
    return Cursor(one.run_id, one.seen if one.seen == other.seen else -1, offsets)
