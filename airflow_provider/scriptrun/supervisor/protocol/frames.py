"""Frames on a byte stream: JSON objects and data, each with its length, behind a marker that skips login banners.

A frame is one type byte, the payload's length (4 bytes, big-endian), the payload:
``J`` a JSON object, ``D`` a chunk of data, ``Z`` one compressed by zlib, ``E`` the end of a sequence of data chunks
(empty). Whether a chunk travels as it is or compressed is its sender's choice, and the reader of data does not see it.
"""

from __future__ import annotations

import json
import struct

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import IO, Any, Dict, Iterable, Iterator, Optional, Tuple

#: What the supervisor writes before its first frame; what comes before it (a login banner) is not ours.
MARKER = b"\n\x00scriptrun-frames-1\x00\n"
#: How much a login shell may print before the marker.
MAX_BANNER_BYTES = 256 * 1024
#: Data travels in chunks of this size: larger ones were slower through pipes and SSH windows.
CHUNK_BYTES = 64 * 1024
#: What a compressed chunk may turn into: whoever announces little and sends a lot is stopped there.
MAX_CHUNK_BYTES = 4 * 1024 * 1024
#: A longer frame is refused before it is read: lengths that come from the other side are not trusted.
MAX_FRAME_BYTES = 64 * 1024 * 1024

JSON, DATA, COMPRESSED, END = b"J", b"D", b"Z", b"E"
_HEADER = struct.Struct(">cI")


class FrameError(Exception):
    """The stream does not hold what the protocol says: it ended inside a frame, or something else writes to it."""


class Compressed(bytes):
    """A chunk of data as it travels: compressed by zlib, from at most ``MAX_CHUNK_BYTES``."""

    __slots__ = ()


class FrameWriter:
    """Writes frames to a binary stream. Not safe for two threads at once."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def json(self, value: Dict[str, Any]) -> None:
        """Send one JSON object."""
        self._frame(JSON, json.dumps(value, separators=(",", ":")).encode("ascii"))

    def data(self, chunk: bytes) -> None:
        """Send one chunk of data, which may be a ``Compressed`` one; nothing for an empty one."""
        if chunk:
            self._frame(COMPRESSED if isinstance(chunk, Compressed) else DATA, chunk)

    def end(self) -> None:
        """Close a sequence of data chunks."""
        self._frame(END, b"")

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._stream.flush()

    def _frame(self, kind: bytes, payload: bytes) -> None:
        if len(payload) > MAX_FRAME_BYTES:
            raise FrameError("a frame of %d bytes is larger than the %d allowed" % (len(payload), MAX_FRAME_BYTES))
        # In one piece: what comes small to a connection may leave it as a packet of its own.
        self._stream.write(_HEADER.pack(kind, len(payload)) + payload)


class FrameReader:
    """Reads frames from a binary stream (one whose ``read(n)`` returns less than ``n`` bytes only at its end)."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def next(self) -> Optional[Tuple[bytes, bytes]]:
        """Return (type, payload), or ``None`` at the end of the stream. Raises ``FrameError`` inside a frame."""
        header = self._stream.read(_HEADER.size)
        if not header:
            return None
        if len(header) < _HEADER.size:
            raise FrameError("the stream ended inside a frame's header")
        kind, length = _HEADER.unpack(header)
        if kind not in (JSON, DATA, COMPRESSED, END) or length > MAX_FRAME_BYTES:
            raise FrameError("this is no frame: %r" % (header,))
        payload = self._stream.read(length) if length else b""
        if len(payload) < length:
            raise FrameError("the stream ended inside a frame (%d of %d bytes)" % (len(payload), length))
        return kind, payload

    def json(self) -> Optional[Dict[str, Any]]:
        """Return the next frame, which must be a JSON object; ``None`` at the end of the stream."""
        frame = self.next()
        if frame is None:
            return None
        kind, payload = frame
        if kind != JSON:
            raise FrameError("expected a JSON frame, got %r" % (kind,))
        try:
            value = json.loads(payload)
        except ValueError as error:
            raise FrameError("a JSON frame does not hold JSON: %s" % error) from None
        if not isinstance(value, dict):
            raise FrameError("a JSON frame must hold an object")
        return value

    def data(self) -> Iterator[bytes]:
        """Yield the data chunks up to the end frame. Raises ``FrameError`` when the stream ends before it."""
        while True:
            frame = self.next()
            if frame is None:
                raise FrameError("the stream ended inside a sequence of data")
            kind, payload = frame
            if kind == END:
                return
            if kind == COMPRESSED:
                payload = _decompressed(payload)
            elif kind != DATA:
                raise FrameError("expected data, got a frame of type %r" % (kind,))
            yield payload


def _decompressed(payload: bytes) -> bytes:
    import zlib

    stream = zlib.decompressobj()
    try:
        chunk = stream.decompress(payload, MAX_CHUNK_BYTES)
    except zlib.error as error:
        raise FrameError("a compressed chunk is damaged: %s" % error) from None
    if not stream.eof or stream.unused_data:
        raise FrameError("a compressed chunk is cut off, or more than the %d bytes allowed" % MAX_CHUNK_BYTES)
    return chunk


def find_marker(stream: IO[bytes]) -> bytes:
    """Read up to and including the marker; return what came before it (a banner).

    Raises ``FrameError`` with the text read so far when the stream ends, or the banner is longer than allowed.
    """
    seen = bytearray()
    while not seen.endswith(MARKER):
        byte = stream.read(1)
        if not byte or len(seen) > MAX_BANNER_BYTES:
            raise FrameError(bytes(seen).decode("utf-8", "replace"))
        seen += byte
    return bytes(seen[: -len(MARKER)])


def chunks(stream: IO[bytes], size: int) -> Iterable[bytes]:
    """Yield at most ``size`` bytes of ``stream`` in chunks; fewer when it ends before."""
    left = size
    while left > 0:
        chunk = stream.read(min(CHUNK_BYTES, left))
        if not chunk:
            return
        left -= len(chunk)
        yield chunk
