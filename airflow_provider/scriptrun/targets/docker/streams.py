"""The streams of a container's process, on one connection. Their format: Engine API, ``ContainerAttach``, "Stream
format".
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from airflow_provider.scriptrun.targets.transports.base import DIAGNOSIS_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")

_READ_BYTES = 256 * 1024
#: The other side takes more, or has said its last word (poll(2)).
_WRITABLE = select.POLLOUT | select.POLLRDHUP
_HEADER = struct.Struct(">BxxxL")
_STDOUT, _STDERR = 1, 2


class EngineStream:
    """The streams of one process. Reading and writing may happen in two threads at once."""

    def __init__(self, connection: socket.socket, rest: bytes) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._raw = bytearray(rest)
        self._output = bytearray()
        self._left, self._kind = 0, _STDOUT
        self._ended = False
        self.errors = b""  #: the end of its standard error

    def read(self, size: int, timeout_s: float) -> bytes:
        """Return 1 to ``size`` bytes of its standard output; ``b""`` at the end. See :class:`~.base.Process`."""
        deadline = time.monotonic() + timeout_s
        self._sort()
        while not self._output and not self._ended:
            self._receive(deadline - time.monotonic())
            self._sort()
        data = bytes(self._output[:size])
        del self._output[:size]
        return data

    def line(self, limit: int, timeout_s: float) -> str:
        """Return the first line of its standard output, of at most ``limit`` bytes; what there is, when it ends before.

        Raises what :meth:`read` raises.
        """
        output = b""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in output and len(output) < limit:
            chunk = self.read(limit, max(0.0, deadline - time.monotonic()))
            if not chunk:
                break
            output += chunk
        return output[:limit].partition(b"\n")[0].decode("utf-8", "replace")

    def drain(self) -> None:
        """Take in what has come, without waiting."""
        with suppress(TimeoutError, OSError):
            while not self._ended:
                self._receive(0.0)
        self._sort()

    def write(self, data: bytes, timeout_s: float) -> None:
        """Write all of it to its standard input. See :class:`~.base.Process`.

        ``BrokenPipeError``, too, when the process has ended: an engine reads no more then, and leaves us waiting.
        """
        view = memoryview(data)
        deadline = time.monotonic() + timeout_s
        while view:
            sent = self._try(lambda part=view: self._connection.send(part), _WRITABLE, deadline)  # type: ignore[misc]
            if sent is not None:
                view = view[sent:]
                deadline = time.monotonic() + timeout_s

    def close_input(self) -> None:
        """Say that nothing more will be written; over TLS only the end of the whole connection says so."""
        if not isinstance(self._connection, ssl.SSLSocket):
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_WR)

    def terminate(self) -> None:
        """End the connection, from any thread: a ``read`` that waits returns as at the end."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def _receive(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        data = None
        while data is None:
            data = self._try(lambda: self._connection.recv(_READ_BYTES), select.POLLIN, deadline)
        self._ended = not data
        self._raw += data

    def _try(self, call: Callable[[], Answer], awaits: int, deadline: float) -> Answer | None:
        """Return what ``call`` returns; ``None``: it could not yet, and has waited until it may be able to.

        :param awaits: for what ``poll(2)`` is to wait, unless TLS has something of its own to say.
        """
        try:
            return call()
        except ssl.SSLWantReadError:
            awaits = select.POLLIN
        except ssl.SSLWantWriteError:
            awaits = _WRITABLE
        except BlockingIOError:
            pass
        poll = select.poll()
        poll.register(self._connection, awaits)
        ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not ready:
            raise TimeoutError("nothing came")
        if awaits == _WRITABLE and not ready[0][1] & select.POLLOUT:
            raise BrokenPipeError("the process has ended")
        return None

    def _sort(self) -> None:
        """Put what came into the stream that it is of."""
        while self._raw:
            if not self._left:
                if len(self._raw) < _HEADER.size:
                    return
                self._kind, self._left = _HEADER.unpack_from(self._raw)
                del self._raw[: _HEADER.size]
            part = bytes(self._raw[: self._left])
            del self._raw[: self._left]
            self._left -= len(part)
            if self._kind == _STDERR:
                self.errors = (self.errors + part)[-DIAGNOSIS_BYTES:]
            else:
                self._output += part
