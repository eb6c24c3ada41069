"""The SSH connections of this process to one host: shared by everybody here who talks to it, and bounded.

sshd lets one connection carry ten sessions at once (``MaxSessions``, sshd_config(5)), and turns new connections away
while too many are logging in (``MaxStartups``). So few connections carry many channels, one login goes on at a time,
and a server that turns us away is asked again after a short, uneven pause.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import paramiko

from airflow_provider.scriptrun.errors import TargetRefusedError, TargetUnreachableError

if TYPE_CHECKING:
    from paramiko import Channel, Transport

    from airflow_provider.scriptrun.targets.surroundings import SshDialer

#: What paramiko raises while a connection breaks, depending on which of its threads sees it first.
BROKEN = (OSError, EOFError, paramiko.SSHException)
#: Of the ten that a server allows by default, some are left for what has not been seen closed there yet.
CHANNELS_PER_CONNECTION = 8
CONNECTIONS_PER_HOST = 8
#: A server that turns us away before its first line is busy with other logins: it is asked again so often.
LOGIN_TRIES = 8
#: The pause between two of these tries lies between a tenth of this and all of it, doubled each time.
FIRST_LOGIN_PAUSE_S = 0.25
#: How long one may wait for a channel while all are in use.
CHANNEL_PATIENCE_S = 60.0
#: To open a channel is one round trip.
OPEN_TIMEOUT_S = 30.0
#: A connection that breaks while a channel is opened is replaced so often.
OPEN_TRIES = 3
#: More than 4 MiB makes paramiko slow: it cuts its buffer at the front, byte by byte.
WINDOW_BYTES = 4 * 1024 * 1024
#: What a server says, or does not say, when it has too many logins going on.
_BUSY = ("EOF", "reset by peer", "MaxStartups", "Connection closed")

#: What paramiko says of a refused channel, when it has given the reason to another thread that was refused as well.
_REFUSED_TOO = "Unable to open channel"


class SshConnections:
    """Channels to one host. Safe for several threads. ``shared`` gives the one of this process."""

    def __init__(self, dialer: SshDialer) -> None:
        self._dialer = dialer
        self._changed = threading.Condition()
        self._dialing = threading.Lock()
        self._open: dict[Transport, _Room] = {}
        self._users = 0
        self._failure: tuple[float, Exception] | None = None  # when the last login failed, and why

    @property
    def host(self) -> str:
        """For messages: ``user@host:port``."""
        return self._dialer.host

    @property
    def count(self) -> int:
        """How many connections there are now."""
        with self._changed:
            return len(self._open)

    def join(self) -> None:
        """Count one more user."""
        with self._changed:
            self._users += 1

    def leave(self) -> bool:
        """Count one user less; the last one closes all connections. Return whether it was the last one."""
        with self._changed:
            self._users -= 1
            closing = [] if self._users else list(self._open)
            for transport in closing:
                self._forget(transport)
            is_last = not self._users
        for transport in closing:
            transport.close()
        return is_last

    def channel(self) -> Channel:
        """Return a new channel, on a connection that has room, or on a new one; hand it back with ``release``.

        Raises :class:`TargetUnreachableError`, and what dialing raises.
        """
        deadline = time.monotonic() + CHANNEL_PATIENCE_S
        broken = 0
        while True:
            transport = self._take(deadline) or self._connect()
            try:
                channel = transport.open_session(window_size=WINDOW_BYTES, timeout=OPEN_TIMEOUT_S)
            except paramiko.ChannelException as error:
                self._is_full(transport, error)
            except BROKEN as error:
                if transport.is_active() and _REFUSED_TOO in str(error):
                    self._is_full(transport, error)
                    continue
                self.drop(transport)
                broken += 1
                if broken == OPEN_TRIES:
                    raise TargetUnreachableError(
                        f"The connection to {self.host} breaks when a session is opened", why=str(error) or None
                    ) from None
            except BaseException:
                self._leave_room(transport)
                raise
            else:
                with self._changed:
                    if transport in self._open:
                        self._open[transport].has_served = True
                return channel

    def release(self, channel: Channel, transport: Transport) -> None:
        """Close a channel, and let somebody else have its room. Never raises."""
        close(channel)
        self._leave_room(transport)

    def drop(self, transport: Transport) -> None:
        """Close a connection that does not do what it should, with every channel on it."""
        with self._changed:
            self._forget(transport)
        transport.close()

    def _take(self, deadline: float) -> Transport | None:
        """Reserve room on a connection; ``None``: there is none with room, and a new one is allowed."""
        with self._changed:
            while True:
                found = self._reserve()
                if found is not None or len(self._open) < CONNECTIONS_PER_HOST:
                    return found
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise TargetUnreachableError(
                        f"All {sum(room.used for room in self._open.values())} channels to {self.host} are in use",
                        advice="Close targets that are not needed any more, or watch many runs with one target.",
                    )

    def _reserve(self) -> Transport | None:
        for transport in [transport for transport in self._open if not transport.is_active()]:
            self._forget(transport)
        for transport, room in self._open.items():
            if room.used < room.limit:
                room.used += 1
                return transport
        return None

    def _connect(self) -> Transport:
        """Return a connection with room reserved, a new one unless another thread has just made one."""
        since = time.monotonic()
        with self._dialing:
            with self._changed:
                found = self._reserve()
            if found is not None:
                return found
            if self._failure is not None and self._failure[0] > since:
                raise self._failure[1]  # who waited for the same login need not wait for it again
            try:
                transport = self._dial()
            except TargetUnreachableError as error:
                self._failure = (time.monotonic(), error)
                raise
            with self._changed:
                is_wanted = self._users > 0
                if is_wanted:
                    self._open[transport] = _Room()
            if not is_wanted:
                transport.close()
                raise TargetUnreachableError(f"The connection to {self.host} was closed")
            return transport

    def _dial(self) -> Transport:
        pause = FIRST_LOGIN_PAUSE_S
        for left in reversed(range(LOGIN_TRIES)):
            try:
                return self._dialer.dial()
            except TargetUnreachableError as error:
                if not left or not any(word in (error.why or "") for word in _BUSY):
                    raise
            time.sleep(pause * random.uniform(0.1, 1.0))  # noqa: S311 - no secret
            pause *= 2
        raise AssertionError("unreachable")

    def _is_full(self, transport: Transport, error: Exception) -> None:
        """The server refused a channel on this connection: it allows as many as are in use, or none at all."""
        with self._changed:
            room = self._open.get(transport)
            if room is None:
                return
            room.used -= 1
            room.limit = room.used
            is_useless = not room.used
            if is_useless:
                self._forget(transport)
        if is_useless:
            transport.close()
        if is_useless and not room.has_served:
            raise TargetRefusedError(
                f"{self.host} lets us in, and opens no session",
                why=getattr(error, "text", None) or str(error),
                advice="Look at MaxSessions in its sshd_config, and at what sshd logs.",
            )

    def _leave_room(self, transport: Transport) -> None:
        with self._changed:
            if transport in self._open:
                self._open[transport].used -= 1
                if not transport.is_active():
                    self._forget(transport)
                self._changed.notify()

    def _forget(self, transport: Transport) -> None:
        self._open.pop(transport, None)
        self._changed.notify_all()


def close(channel: Channel) -> None:
    """Close a channel; on a connection that broke meanwhile, it is closed already."""
    with contextlib.suppress(*BROKEN):
        channel.close()


@dataclass
class _Room:
    """The channels of one connection: the one that it was made for is in use."""

    used: int = 1
    limit: int = CHANNELS_PER_CONNECTION
    has_served: bool = False


_shared: dict[str, SshConnections] = {}
_shared_lock = threading.Lock()


def shared(dialer: SshDialer) -> SshConnections:
    """Return the connections of this process that ``dialer`` makes, or one of the same identity; counted as used."""
    with _shared_lock:
        connections = _shared.setdefault(dialer.identity, SshConnections(dialer))
        connections.join()
    return connections


def give_up(dialer: SshDialer, connections: SshConnections) -> None:
    """Let go of what ``shared`` gave."""
    with _shared_lock:
        if connections.leave() and _shared.get(dialer.identity) is connections:
            del _shared[dialer.identity]


def _forget_all() -> None:
    """A forked child must not write to its parent's connections."""
    global _shared_lock
    _shared.clear()
    _shared_lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_all)
