"""The way to a living supervisor: a FIFO in the run's folder that it alone reads. No pid is needed to find it."""

from __future__ import annotations

import contextlib
import errno
import json
import os

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, List

#: Writes up to this are atomic (pipe(7), PIPE_BUF is 4096 on Linux, at least 512 by POSIX).
MAX_MESSAGE_BYTES = 512
#: Nobody reads the FIFO, or there is none yet.
_NOBODY = (errno.ENXIO, errno.ENOENT)
CANCEL, LOOK = "cancel", "look"
#: The engine takes its container away, and says to nobody why.
STOP = "stop"


def make(path: str) -> None:
    """Make the FIFO, unless it is there."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)


def tell(path: str, message: Dict[str, Any]) -> bool:
    """Send a message to the supervisor; return whether one listens. A full FIFO has plenty for it to do already."""
    payload = json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"
    if len(payload) > MAX_MESSAGE_BYTES:
        raise ValueError("a control message of %d bytes" % len(payload))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NOBODY:
            return False
        raise
    try:
        os.write(descriptor, payload)
    except (BlockingIOError, BrokenPipeError):
        return False
    finally:
        os.close(descriptor)
    return True


class Control:
    """The supervisor's end. It is opened for writing too, so that it never sees an end of file."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._rest = b""

    def read(self) -> List[Dict[str, Any]]:
        """Return the messages that have arrived; what is no message is dropped."""
        try:
            self._rest += os.read(self.descriptor, 64 * 1024)
        except BlockingIOError:
            return []
        *lines, self._rest = self._rest.split(b"\n")
        return [message for message in map(_parse, lines) if message]

    def close(self) -> None:
        """Stop listening."""
        os.close(self.descriptor)


def _parse(line: bytes) -> Dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
