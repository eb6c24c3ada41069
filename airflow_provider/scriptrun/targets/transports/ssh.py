"""The SSH transport: a command on another host, over a channel of a connection that this process shares."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from typing import TYPE_CHECKING

import paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST

from airflow_provider.scriptrun.errors import TargetUnreachableError
from airflow_provider.scriptrun.targets.transports import ssh_connections
from airflow_provider.scriptrun.targets.transports.base import DIAGNOSIS_BYTES
from airflow_provider.scriptrun.targets.transports.ssh_connections import BROKEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paramiko import Channel

    from airflow_provider.scriptrun.targets.surroundings import SshDialer

#: What every login shell (sh, csh, fish, ...) takes as it stands.
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
#: While a read waits, standard error is emptied so often: it shares the channel's window.
_LOOK_S = 2.0


class SshTransport:
    """Runs commands on the host that ``dialer`` connects to. Nothing is contacted before the first one."""

    def __init__(self, dialer: SshDialer) -> None:
        self.name = dialer.host
        self._dialer = dialer
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._connections: ssh_connections.SshConnections | None = None
        self._closed = False

    def open(self, argv: Sequence[str]) -> SshProcess:
        """Start a command, without waiting for the server's word that it did: what is written travels right behind.

        Raises :class:`TargetUnreachableError`, :class:`TargetRefusedError`.
        """
        with self._lock:
            if self._closed:
                raise TargetUnreachableError(f"The connection to {self.name} was closed")
            if self._connections is None or self._owner != os.getpid():
                self._owner = os.getpid()
                self._connections = ssh_connections.shared(self._dialer)
            connections = self._connections
        channel = connections.channel()
        try:
            _execute(channel, command_line(argv))
        except BROKEN as error:
            connections.release(channel, channel.get_transport())
            raise TargetUnreachableError(f"The connection to {self.name} broke", why=str(error)) from None
        return SshProcess(channel, connections)

    def close(self) -> None:
        """Close the connection, unless somebody else in this process uses it. Safe to call twice."""
        with self._lock:
            self._closed = True
            connections, self._connections = self._connections, None
        if connections is not None and self._owner == os.getpid():
            ssh_connections.give_up(self._dialer, connections)


def command_line(argv: Sequence[str]) -> str:
    """Return the one text that SSH sends to the user's login shell, which splits it into ``argv`` again.

    Single quotes mean the same to sh, csh and fish but for ``'`` and ``\\`` within, and csh's ``!`` and line ends:
    these stand outside of them, behind a backslash. A line end cannot be written for csh at all, and is refused. The
    ``~/`` of a path is left to the shell, since a start-up file may have left the home folder.
    """
    return " ".join(f"~/{_quoted(item[2:])}" if item.startswith("~/") else _quoted(item) for item in argv)


def _quoted(item: str) -> str:
    if "\n" in item or "\0" in item:
        raise ValueError("a command for another host cannot hold a line end: not every login shell takes it")
    if _PLAIN.fullmatch(item):
        return item
    parts = re.split(r"(['\\!])", item)
    return "".join(f"\\{part}" if part in ("'", "\\", "!") else f"'{part}'" for part in parts if part) or "''"


def _execute(channel: Channel, command: str) -> None:
    """Send ``exec`` (RFC 4254, 6.5) and go on: ``Channel.exec_command`` would wait a round trip for the answer.

    A server that refuses closes the channel, which reads as a command that ended without a word.
    """
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string("exec")
    message.add_boolean(True)
    message.add_string(command)
    channel.get_transport()._send_user_message(message)  # type: ignore[attr-defined]  # its only way to send without waiting


class SshProcess:
    """A command on the other host. See :class:`~.base.Process`."""

    def __init__(self, channel: Channel, connections: ssh_connections.SshConnections) -> None:
        self._channel, self._connections = channel, connections
        self._transport = channel.get_transport()
        self._owner = os.getpid()
        self._diagnosis = b""
        self._closed = False

    def read(self, size: int, timeout_s: float) -> bytes:
        """See :class:`~.base.Process`."""
        deadline = time.monotonic() + timeout_s
        while True:
            left = deadline - time.monotonic()
            self._channel.settimeout(max(0.0, min(left, _LOOK_S)))
            try:
                self._drain_errors()
                data = self._channel.recv(size)
            except TimeoutError:
                if left <= _LOOK_S:
                    self._connections.drop(self._transport)  # nobody else is to wait for it too
                    raise
                continue
            except BROKEN:  # it also sends, to make room for more
                raise ConnectionResetError(self._why_broken()) from None
            if not data and not self._channel.eof_received:
                raise ConnectionResetError(self._why_broken())
            return data

    def write(self, data: bytes, timeout_s: float) -> None:
        """See :class:`~.base.Process`."""
        view = memoryview(data)
        self._channel.settimeout(timeout_s)
        while view:
            try:
                sent = self._channel.send(view)  # type: ignore[arg-type]  # it cuts and joins, which a view can
            except TimeoutError:
                self._connections.drop(self._transport)
                raise
            except BROKEN:
                sent = 0
            if not sent:
                if self._transport.is_active():
                    raise BrokenPipeError("the command does not read any more")
                raise ConnectionResetError(self._why_broken())
            view = view[sent:]

    def diagnosis(self) -> bytes:
        """See :class:`~.base.Process`."""
        with contextlib.suppress(*BROKEN):
            self._drain_errors()
        return self._diagnosis

    def wait(self, timeout_s: float) -> int | None:
        """See :class:`~.base.Process`."""
        if not self._channel.status_event.wait(timeout_s) or self._channel.exit_status < 0:
            return None  # a signal ended it, which paramiko does not tell, or the connection broke
        return self._channel.exit_status

    def terminate(self) -> None:
        """See :class:`~.base.Process`."""
        ssh_connections.close(self._channel)

    def close(self) -> None:
        """See :class:`~.base.Process`. It ends by itself: its input has."""
        if not self._closed and self._owner == os.getpid():
            self._closed = True
            self._connections.release(self._channel, self._transport)

    def _drain_errors(self) -> None:
        while self._channel.recv_stderr_ready():
            self._diagnosis = (self._diagnosis + self._channel.recv_stderr(DIAGNOSIS_BYTES))[-DIAGNOSIS_BYTES:]

    def _why_broken(self) -> str:
        error = self._transport.saved_exception
        return (str(error) or type(error).__name__) if error is not None else "the SSH connection ended"
