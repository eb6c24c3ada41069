"""From a child's standard output and error, one pipe, into its log: every byte once, in order, raw.

A pipe and not the file itself: ``echo x > /dev/stderr`` would truncate a log that is the script's own descriptor.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Optional

#: A pipe holds 64 KB; larger reads were no faster.
BLOCK_BYTES = 64 * 1024
#: Blocks moved before the caller gets to look at anything else: a script that never stops writing must not hold it up.
BLOCKS_AT_ONCE = 64


class Pump:
    """Moves what arrives in a pipe to the end of a file. ``close`` it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._source, self.sink = os.pipe()  #: ``sink`` is for the child
        os.set_blocking(self._source, False)
        self._ended = False
        self.failure: Optional[OSError] = None  #: why the log could not be written; what came after it is lost

    @property
    def source(self) -> Optional[int]:
        """The descriptor to wait on; ``None`` once everybody has closed the other end."""
        return None if self._ended else self._source

    def close_sink(self) -> None:
        """Forget this process's own writing end, so that the children's closing theirs is seen."""
        os.close(self.sink)

    def move(self) -> None:
        """Move what has arrived, up to ``BLOCKS_AT_ONCE`` blocks."""
        for _ in range(BLOCKS_AT_ONCE):
            if not self._move_block():
                return

    def drain(self) -> None:
        """Move all that is in the pipe. Whoever still holds its other end is none of the run's, and not waited for."""
        while self._move_block():
            pass

    def close(self) -> None:
        """Close the log and the pipe."""
        os.close(self._log)
        os.close(self._source)

    def _move_block(self) -> bool:
        try:
            block = os.read(self._source, BLOCK_BYTES)
        except BlockingIOError:
            return False
        if not block:
            self._ended = True
            return False
        if self.failure is None:
            self._write(block)
        return True

    def _write(self, block: bytes) -> None:
        try:
            written = os.write(self._log, block)
            while written < len(block):
                written += os.write(self._log, block[written:])
        except OSError as error:
            error.filename = self._path
            self.failure = error
