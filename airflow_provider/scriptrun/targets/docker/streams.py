"""Connections that an engine turns into the streams of a container's process ("hijacked"), and what is on them.

Docker's client reads the answer's head through a buffer, and so can lose what came right behind it; hence by hand.
The format of the streams: Engine API, ``ContainerAttach``, "Stream format".
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from docker.errors import APIError
from requests import Response

from airflow_provider.scriptrun.errors import ProtocolError
from airflow_provider.scriptrun.targets.transports.base import DIAGNOSIS_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Answer = TypeVar("Answer")

#: How long an engine may take to turn a connection, or to say its version.
HEAD_PATIENCE_S = 60.0
_MAX_HEAD_BYTES = 64 * 1024
_READ_BYTES = 256 * 1024
_HTTP = b"HTTP/"
#: The other side takes more, or has said its last word (poll(2)).
_WRITABLE = select.POLLOUT | select.POLLRDHUP
_HEADER = struct.Struct(">BxxxL")
_STDOUT, _STDERR = 1, 2
_SWITCHING, _OK = 101, 200
#: What an engine that does not say its API version speaks.
_OLDEST_API = "1.24"


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


def hijack(connection: socket.socket, path: str, document: Mapping[str, Any] | None) -> EngineStream:
    """POST ``document``, and return the streams that the connection becomes.

    Raises ``docker.errors.APIError``: the engine refused; ``OSError``: the connection broke.
    """
    body = b"" if document is None else json.dumps(document).encode()
    headers = ("Connection: Upgrade", "Upgrade: tcp", "Content-Type: application/json")
    try:
        code, _, rest = _exchange(connection, "POST", path, headers, body)
        if code not in (_SWITCHING, _OK):
            rest = _to_end(connection, rest)
    except BaseException:
        connection.close()
        raise
    if code in (_SWITCHING, _OK):
        return EngineStream(connection, rest)
    connection.close()
    raise _api_error(code, rest)


def ping(connection: socket.socket) -> str:
    """Return the newest version of the API that the engine speaks."""
    try:
        code, head, rest = _exchange(connection, "GET", "/_ping", ("Connection: close",), b"")
        if code != _OK:
            raise _api_error(code, _to_end(connection, rest))
    finally:
        connection.close()
    version = head.get("api-version", _OLDEST_API)
    if not all(part.isdigit() for part in version.split(".")):
        raise ProtocolError(f"A Docker engine says that its API is of version {version[:100]!r}")
    return version


def _exchange(
    connection: socket.socket, method: str, path: str, headers: tuple[str, ...], body: bytes
) -> tuple[int, dict[str, str], bytes]:
    """Send a request; return the answer's status, its headers, and what came behind them."""
    connection.settimeout(HEAD_PATIENCE_S)
    lines = (f"{method} {path} HTTP/1.1", "Host: docker", f"Content-Length: {len(body)}", *headers, "", "")
    with suppress(BrokenPipeError, ConnectionResetError):  # what it said before it closed says why
        connection.sendall("\r\n".join(lines).encode("ascii") + body)
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(_READ_BYTES)
        if not data:
            raise ConnectionResetError("the engine closed the connection")
        received += data
        if not received.startswith(_HTTP[: len(received)]):
            raise ConnectionResetError(f"no engine answers {received[:100]!r}")
        if len(received) > _MAX_HEAD_BYTES + _READ_BYTES:
            raise ConnectionResetError("no engine answers with so long a head")
    head, _, rest = received.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    code = status.split(" ")[1] if " " in status else ""
    if not code.isdigit():
        raise ConnectionResetError(f"no engine answers {status[:100]!r}")
    named = (field.partition(":") for field in fields)
    return int(code), {name.strip().lower(): value.strip() for name, _, value in named}, rest


def _to_end(connection: socket.socket, rest: bytes) -> bytes:
    """Return the body of an error, as far as it comes; an engine says it in one piece and may keep the connection."""
    connection.settimeout(1.0)
    with suppress(OSError):
        while len(rest) < _MAX_HEAD_BYTES and b"}" not in rest:
            data = connection.recv(_READ_BYTES)
            if not data:
                break
            rest += data
    return rest


def _api_error(code: int, body: bytes) -> APIError:
    text = body[body.find(b"{") : body.rfind(b"}") + 1] if b"{" in body else body
    try:
        said = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        said = text.decode("utf-8", "replace")
    response = Response()
    response.status_code = code
    return APIError(str(said), response=response, explanation=str(said))
