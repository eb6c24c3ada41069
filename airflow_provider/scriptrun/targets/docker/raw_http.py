"""What is asked of an engine before Docker's client is loaded, and what that cannot do: to turn a connection into the
streams of a process ("hijacked"). HTTP by hand: that client reads the answer's head through a buffer, and so can lose
what came right behind it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import ProtocolError
from airflow_provider.scriptrun.targets.docker.streams import EngineStream

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

#: How long an engine may take to turn a connection, or to say its version.
HEAD_PATIENCE_S = 60.0
_MAX_HEAD_BYTES = 64 * 1024
_READ_BYTES = 256 * 1024
_SWITCHING, _OK, _CREATED = 101, 200, 201
#: What an engine that does not say its API version speaks.
_OLDEST_API = "1.24"
_HTTP = b"HTTP/"


class Refused(Exception):  # noqa: N818  # an answer, not yet one of our errors
    """The engine answered with an error.

    :param code: the HTTP status.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def execute(connection: socket.socket, version: str, container: str, argv: Sequence[str]) -> tuple[str, EngineStream]:
    """Start a command in a container, as root; return the id of the exec, and the streams of the command.

    Raises :class:`Refused`; ``OSError``: the connection broke.
    """
    document = {
        "Cmd": list(argv), "User": "0", "AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": False,
    }  # fmt: skip
    body = json.dumps(document).encode()
    try:
        path = f"/v{version}/containers/{container}/exec"
        identifier = _made(connection, path, body)
    except BaseException:
        connection.close()
        raise
    return identifier, hijack(connection, f"/v{version}/exec/{identifier}/start", {"Detach": False, "Tty": False})


def _made(connection: socket.socket, path: str, body: bytes) -> str:
    code, head, rest = _exchange(connection, "POST", path, ("Content-Type: application/json",), body)
    if code != _CREATED:
        raise _refused(code, _to_end(connection, rest))
    identifier = json.loads(_whole(connection, head, rest)).get("Id")
    if not isinstance(identifier, str) or not identifier.isalnum():
        raise ProtocolError(f"A Docker engine calls a command {identifier!r:.100}")
    return identifier


def hijack(connection: socket.socket, path: str, document: Mapping[str, Any] | None) -> EngineStream:
    """POST ``document``, and return the streams that the connection becomes.

    Raises :class:`Refused`; ``OSError``: the connection broke.
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
    raise _refused(code, rest)


def ping(connection: socket.socket) -> str:
    """Return the newest version of the API that the engine speaks."""
    try:
        code, head, rest = _exchange(connection, "GET", "/_ping", ("Connection: close",), b"")
        if code != _OK:
            raise _refused(code, _to_end(connection, rest))
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


def _whole(connection: socket.socket, head: Mapping[str, str], rest: bytes) -> bytes:
    """Return the body of an answer that says how long it is; of another one what comes, as of an error."""
    length = head.get("content-length", "")
    if not length.isdigit() or int(length) > _MAX_HEAD_BYTES:
        return _to_end(connection, rest)
    while len(rest) < int(length):
        data = connection.recv(_READ_BYTES)
        if not data:
            raise ConnectionResetError("the engine closed the connection")
        rest += data
    return rest


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


def _refused(code: int, body: bytes) -> Refused:
    text = body[body.find(b"{") : body.rfind(b"}") + 1] if b"{" in body else body
    try:
        said = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        said = text.decode("utf-8", "replace")
    return Refused(code, str(said))
