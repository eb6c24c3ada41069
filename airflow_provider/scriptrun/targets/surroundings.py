"""What a target needs to know of the world around it. ``runs.surroundings.Surroundings`` has all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class ConnectionLike(Protocol):
    """An Airflow connection as plain values."""

    @property
    def id(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def host(self) -> str | None: ...
    @property
    def port(self) -> int | None: ...
    @property
    def login(self) -> str | None: ...
    @property
    def password(self) -> str | None: ...
    @property
    def schema(self) -> str | None: ...
    @property
    def extra(self) -> Mapping[str, Any]: ...


class TargetSettings(Protocol):
    """The ``[scriptrun]`` options that concern targets."""

    @property
    def local_root(self) -> str: ...
    @property
    def local_interpreter(self) -> str: ...
    @property
    def inherit_variables(self) -> str: ...


class TargetSurroundings(Protocol):
    """Settings, connections, and the log masker."""

    @property
    def settings(self) -> TargetSettings: ...

    def connection(self, connection_id: str, /) -> ConnectionLike:
        """Return a connection; raises :class:`ConfigurationError` that names the variable to set when there is none."""

    def mask(self, secret: str, /) -> None:
        """Make the log masker hide this text from now on."""
