"""How fast bytes go, and whether compressing them first brings them there sooner."""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.supervisor.protocol.frames import Compressed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: What one core compresses of text at ``LEVEL``, until it was measured.
COMPRESSOR_BYTES_PER_SECOND = 60e6
#: Of zlib: the others shrink source code by a tenth more, and take two to five times as long.
LEVEL = 1
#: What a link is called that has not shown its pace yet: to compress for a fast one costs milliseconds, until it has.
UNKNOWN_LINK_BYTES_PER_SECOND = 5e6
#: So much has to be on its way before a link's pace means anything: the first part only fills buffers.
MEASURED_BYTES = 1024 * 1024
#: Older bytes count less and less: the buffers on the way (2 MB of an SSH window, as much of a socket) hide the link.
WINDOW_BYTES = 4 * 1024 * 1024
#: Shorter chunks stay as they are: the frame around them is what takes time.
SMALLEST_BYTES = 200
#: What is compressed of a chunk to see whether it shrinks.
SAMPLE_BYTES = 8 * 1024
#: It must be sooner by so much: both paces are guesses, and the other side has to undo it.
MARGIN = 0.9


class Pace:
    """Bytes per second, of the last few megabytes."""

    def __init__(self) -> None:
        self._bytes = self._seconds = 0.0
        self._total = 0

    def took(self, count: int, seconds: float) -> None:
        """Note that ``count`` bytes took so long."""
        self._total += count
        self._bytes += count
        self._seconds += seconds
        if self._bytes > WINDOW_BYTES:
            self._bytes /= 2
            self._seconds /= 2

    def per_second(self, unknown: float) -> float:
        """Return the pace, or ``unknown`` until it can be told."""
        if self._total < MEASURED_BYTES:
            return unknown
        return self._bytes / max(self._seconds, 1e-9)


def is_sooner_compressed(link: float, compressor: float, share: float) -> bool:
    """Whether bytes arrive sooner when they are compressed, while what was compressed before is on its way.

    :param link: bytes per second that it carries.
    :param compressor: bytes per second that it takes in.
    :param share: what is left of a byte.
    """
    return max(1 / compressor, share / link) < MARGIN / link


class Packer:
    """Compresses chunks for a link, when that helps. ``link`` is for its writer to keep; the rest for one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.link = Pace()
        self._compressor = Pace()
        self._clock = clock

    def pack(self, chunk: bytes) -> bytes:
        """Return the chunk as it should travel. On a link faster than the compressor that costs two divisions."""
        link = self.link.per_second(UNKNOWN_LINK_BYTES_PER_SECOND)
        compressor = self._compressor.per_second(COMPRESSOR_BYTES_PER_SECOND)
        if len(chunk) < SMALLEST_BYTES or not is_sooner_compressed(link, compressor, 0.0):
            return chunk
        middle = max(0, (len(chunk) - SAMPLE_BYTES) // 2)
        sample = chunk[middle : middle + SAMPLE_BYTES]
        if not is_sooner_compressed(link, compressor, len(zlib.compress(sample, LEVEL)) / len(sample)):
            return chunk
        began = self._clock()
        packed = zlib.compress(chunk, LEVEL)
        self._compressor.took(len(chunk), self._clock() - began)
        return Compressed(packed) if len(packed) < len(chunk) else chunk

    def paced(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield chunks to the link's writer, and note how long the link took for each."""
        for chunk in chunks:
            began = self._clock()
            yield chunk
            self.link.took(len(chunk), self._clock() - began)
