"""Ways to an engine: each gives a new byte stream, as a socket, on which the engine speaks HTTP."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from airflow_provider.scriptrun.errors import TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.targets.docker import permission
from airflow_provider.scriptrun.targets.docker import tls as _tls

if TYPE_CHECKING:
    from airflow_provider.scriptrun.targets.docker.settings import Tls
    from airflow_provider.scriptrun.targets.transports.base import Process, Transport

DEFAULT_SOCKET = "/var/run/docker.sock"
CONNECT_PATIENCE_S = 15.0
_CHUNK_BYTES = 256 * 1024
#: A bridge has no patience of its own: whoever dialled has, and ends the stream; a connection that is dead ends itself.
_BRIDGE_PATIENCE_S = 1e9
#: For the exit code of a command whose output has ended.
_LAST_WORDS_S = 5.0
_QUOTED_CHARACTERS = 2000
#: Exit codes of a shell that cannot execute a command (POSIX, 2.8.2).
_NO_PROGRAM = (126, 127)


class Dial(Protocol):
    """A way to one engine. Safe to use from several threads."""

    @property
    def name(self) -> str:
        """For messages: which engine, by which way."""

    def dial(self) -> socket.socket:
        """Return a new stream. Raises :class:`TargetUnreachableError`, :class:`TargetRefusedError`."""

    def trouble(self, error: Exception) -> Exception | None:
        """Return why a stream has ended without a word, where that is known here alone.

        :param error: what whoever used it ran into.
        """

    def close(self) -> None:
        """Let go of what streams share. Safe to call twice."""


class Severable:
    """A way whose streams can be ended, from any thread.

    :param dial: the way.
    """

    def __init__(self, dial: Dial) -> None:
        self.name = dial.name
        self._dial = dial
        self._streams: list[socket.socket] = []
        self._is_severed = False

    def dial(self) -> socket.socket:
        """See :class:`Dial`."""
        stream = self._dial.dial()
        self._streams.append(stream)
        if self._is_severed:
            self.sever()
        return stream

    def trouble(self, error: Exception) -> Exception | None:
        """See :class:`Dial`."""
        return self._dial.trouble(error)

    def close(self) -> None:
        """See :class:`Dial`. What the way itself shares is others' as well, and stays."""

    def sever(self) -> None:
        """End all streams: whoever reads or writes one finds its connection broken. Safe to call twice."""
        self._is_severed = True
        for stream in list(self._streams):
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class UnixDial:
    """A socket of this machine.

    :param path: of the socket.
    """

    path: str = DEFAULT_SOCKET

    @property
    def name(self) -> str:
        """See :class:`Dial`."""
        return f"the Docker engine at {self.path}"

    def dial(self) -> socket.socket:
        """See :class:`Dial`."""
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(CONNECT_PATIENCE_S)
        try:
            stream.connect(self.path)
        except PermissionError:
            stream.close()
            raise permission.refusal(self.path) from None
        except OSError as error:
            stream.close()
            raise TargetUnreachableError(
                f"No Docker engine answers at {self.path}",
                why=error.strerror or str(error),
                advice="Is it running, and is this the worker that it runs on?",
            ) from None
        return stream

    def trouble(self, error: Exception) -> Exception | None:
        """See :class:`Dial`."""
        del error
        return None

    def close(self) -> None:
        """See :class:`Dial`."""


class TcpDial:
    """A port of some machine, with TLS or without.

    :param tls: ``None``: without.
    """

    def __init__(self, host: str, port: int, tls: Tls | None = None) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._context: ssl.SSLContext | None = None
        self.name = f"the Docker engine at {'https' if tls else 'http'}://{host}:{port}"

    def dial(self) -> socket.socket:
        """See :class:`Dial`."""
        try:
            stream = socket.create_connection((self._host, self._port), CONNECT_PATIENCE_S)
        except OSError as error:
            raise TargetUnreachableError(
                f"No Docker engine answers at {self._host}:{self._port}",
                why=error.strerror or str(error),
                advice="Is it running, does it listen on this port, and does a firewall let us through?",
            ) from None
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return stream if self._tls is None else self._secured(stream, self._tls)

    def _secured(self, stream: socket.socket, tls: Tls) -> socket.socket:
        if self._context is None:
            self._context = _tls.context(tls)
        try:
            return self._context.wrap_socket(stream, server_hostname=tls.hostname or self._host)
        except ssl.SSLError as error:
            stream.close()
            raise _tls.trouble(error, self.name, tls) from None
        except OSError as error:
            stream.close()
            raise TargetUnreachableError(
                f"The connection to {self.name} broke before TLS was there",
                why=str(error),
                advice="Does this port speak TLS, and does a firewall let us through?",
            ) from None

    def trouble(self, error: Exception) -> Exception | None:
        """See :class:`Dial`."""
        found = _tls.cause(error)
        if found is None or self._tls is None or not _tls.is_alert(found):
            return None  # once TLS was there, it is the connection that broke
        return _tls.trouble(found, self.name, self._tls)

    def close(self) -> None:
        """See :class:`Dial`."""


class CommandDial:
    """What a command on another machine gives: ``docker system dial-stdio`` joins its streams to the engine there.

    :param transport: runs the command.
    :param url: of the engine, as that machine sees it; ``None``: what its user's ``docker`` command talks to.
    """

    def __init__(self, transport: Transport, url: str | None = None) -> None:
        self._transport = transport
        self._command = ("docker", *(("--host", url) if url else ()), "system", "dial-stdio")
        self._trouble: Exception | None = None
        self.name = f"the Docker engine of {transport.name}"

    def dial(self) -> socket.socket:
        """See :class:`Dial`."""
        process = self._transport.open(self._command)
        ours, theirs = socket.socketpair()
        self._trouble = None
        for pump in (self._to_process, self._from_process):
            threading.Thread(target=pump, args=(theirs, process), name="docker-dial", daemon=True).start()
        return ours

    def trouble(self, error: Exception) -> Exception | None:
        """See :class:`Dial`."""
        del error
        return self._trouble

    def close(self) -> None:
        """See :class:`Dial`."""
        self._transport.close()

    @staticmethod
    def _to_process(stream: socket.socket, process: Process) -> None:
        """Move what we write; once we have ended, let go of the command."""
        with suppress(OSError, TargetUnreachableError):
            while data := stream.recv(_CHUNK_BYTES):
                process.write(data, _BRIDGE_PATIENCE_S)
        process.terminate()
        process.close()

    def _from_process(self, stream: socket.socket, process: Process) -> None:
        """Move what it says; once it has ended, so does what we read."""
        has_spoken = False
        with suppress(OSError, TargetUnreachableError):
            while data := process.read(_CHUNK_BYTES, _BRIDGE_PATIENCE_S):
                has_spoken = True
                stream.sendall(data)
            if not has_spoken:  # said before the stream ends, so that whoever reads finds it
                self._trouble = self._why(process.wait(_LAST_WORDS_S), process.diagnosis())
        with suppress(OSError):
            stream.shutdown(socket.SHUT_RDWR)
        stream.close()

    def _why(self, code: int | None, said: bytes) -> Exception:
        why = said.decode("utf-8", "replace").strip()[-_QUOTED_CHARACTERS:] or f"Exit code {code}"
        where = self._transport.name
        if code in _NO_PROGRAM:
            return TargetRefusedError(
                f"The command docker cannot be executed on {where}",
                why=why,
                advice="Install the Docker CLI there (18.09 or later), where a login without a terminal finds it.",
            )
        if "permission denied" in why.lower():
            return TargetRefusedError(
                f"The user on {where} may not use the Docker engine there",
                why=why,
                advice="Add that user to the group that owns the engine's socket, often docker.",
            )
        if "is not a docker command" in why:
            return TargetRefusedError(
                f"The Docker CLI on {where} is too old", why=why, advice="It needs version 18.09 or later."
            )
        return TargetUnreachableError(f"No Docker engine answers on {where}", why=why, advice="Is it running there?")
