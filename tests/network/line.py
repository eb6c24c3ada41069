"""One direction of a connection: a line that bytes need a time for, and that takes as many as come."""

from __future__ import annotations

import socket
from collections import deque
from dataclasses import dataclass, field

#: So much is read at once: at no delay, system calls decide about the throughput.
CHUNK_BYTES = 256 * 1024
#: A receiver that is slow slows its sender: so many bytes wait for it at most. Bytes on their way do not count.
_WAITING_BYTES = 4 * 1024 * 1024


@dataclass
class Direction:
    """What all connections share in one direction.

    :param delay_s: how long a byte is on its way.
    :param delivered_bytes: counted when the receiver's kernel took them.
    :param left_bytes: after so many more, the connection that carried the last one is cut; ``None``: none is.
    """

    delay_s: float = 0.0
    delivered_bytes: int = 0
    left_bytes: int | None = None


class CutError(Exception):
    """The last byte that may pass in this direction has passed."""


@dataclass
class Line:
    """From one socket to another one, neither of which blocks. Times are monotonic seconds.

    :param leaves_from: nothing leaves before this time: the sender does not know yet that it is connected.
    """

    source: socket.socket
    sink: socket.socket
    direction: Direction
    leaves_from: float = 0.0
    ended: bool = False  #: the source will send no more
    finished: bool = False  #: and the sink was told so
    _chunks: deque[tuple[float, memoryview]] = field(default_factory=deque)
    _held_bytes: int = 0

    def is_reading(self, now: float) -> bool:
        """Whether to take more from the source."""
        return not self.ended and (self._held_bytes < _WAITING_BYTES or self._ripe_bytes(now) < _WAITING_BYTES)

    def _ripe_bytes(self, now: float) -> int:
        ripe = 0
        for due, chunk in self._chunks:
            if due > now:
                break
            ripe += len(chunk)
        return ripe

    def due(self) -> float | None:
        """Return when the next bytes are to be written; ``None`` when there are none."""
        return self._chunks[0][0] if self._chunks else None

    def read(self, now: float) -> None:
        """Take what the source has. Raises ``OSError`` when its connection broke."""
        try:
            data = self.source.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        self.ended = not data
        self._held_bytes += len(data)
        self._chunks.append((max(now, self.leaves_from) + self.direction.delay_s, memoryview(data)))

    def write(self, now: float) -> None:
        """Give the sink what is due. Raises ``OSError`` when its connection broke, and :class:`CutError`."""
        while self._chunks and self._chunks[0][0] <= now:
            due, chunk = self._chunks[0]
            if not chunk:  # the end, behind everything else
                self._chunks.popleft()
                self.finished = True
                self.sink.shutdown(socket.SHUT_WR)
                return
            try:
                written = self.sink.send(chunk[: self.direction.left_bytes])
            except BlockingIOError:
                return
            self._held_bytes -= written
            self._count(written)
            if written < len(chunk):
                self._chunks[0] = (due, chunk[written:])
            else:
                self._chunks.popleft()

    def _count(self, written: int) -> None:
        self.direction.delivered_bytes += written
        if self.direction.left_bytes is not None:
            self.direction.left_bytes -= written
            if self.direction.left_bytes == 0:
                self.direction.left_bytes = None
                raise CutError
