"""What a target needs to know of the world around it. ``runs.surroundings.Surroundings`` has all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paramiko import Transport


class ConnectionLike(Protocol):
    """An Airflow connection as plain values."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def type(self) -> str:
        """Its type, which says what it is of."""

    @property
    def host(self) -> str | None:
        """A host name."""

    @property
    def port(self) -> int | None:
        """A port."""

    @property
    def login(self) -> str | None:
        """A user."""

    @property
    def password(self) -> str | None:
        """A secret."""

    @property
    def schema(self) -> str | None:
        """Whatever the type makes of it."""

    @property
    def extra(self) -> Mapping[str, Any]:
        """The rest of its fields."""


class TargetSettings(Protocol):
    """The ``[scriptrun]`` options that concern targets."""

    @property
    def local_root(self) -> str:
        """See ``runs/settings.py``."""

    @property
    def local_interpreter(self) -> str:
        """See ``runs/settings.py``."""

    @property
    def inherit_variables(self) -> str:
        """See ``runs/settings.py``."""

    @property
    def cache_directory(self) -> str:
        """See ``runs/settings.py``."""


class SshDialer(Protocol):
    """A way to connect to one host. Holds secrets in memory, and shows none."""

    @property
    def host(self) -> str:
        """For messages: ``user@host:port``."""

    @property
    def identity(self) -> str:
        """The same for dialers whose connections may be shared: the same host, login and way."""

    def dial(self) -> Transport:
        """Return a new connection, logged in.

        Raises :class:`TargetUnreachableError`, :class:`TargetRefusedError`, :class:`ConfigurationError`.
        """


class TargetSurroundings(Protocol):
    """Settings, connections, and the log masker."""

    @property
    def settings(self) -> TargetSettings:
        """The options."""

    def connection(self, connection_id: str, /) -> ConnectionLike:
        """Return a connection; raises :class:`ConfigurationError` that names the variable to set when there is none."""

    def ssh(self, connection_id: str, /) -> SshDialer:
        """Return what connects to the host of an SSH connection. Raises :class:`ConfigurationError`."""

    def mask(self, secret: str, /) -> None:
        """Make the log masker hide this text from now on."""
