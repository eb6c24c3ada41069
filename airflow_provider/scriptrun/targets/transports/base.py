"""A transport: starts a command on a host and carries its three byte streams. All that host targets differ in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How much of a command's standard error is kept for messages.
DIAGNOSIS_BYTES = 16 * 1024


class Process(Protocol):
    """A command that runs on the host. Used by one thread at a time, but for ``terminate``, and for a ``write`` of some
    bytes beside a ``read`` that waits: neither may change how long the other one waits.
    """

    def read(self, size: int, timeout_s: float) -> bytes:
        """Return 1 to ``size`` bytes of its standard output as soon as there are any; ``b""`` at the end.

        Raises ``TimeoutError`` when none came in ``timeout_s`` seconds, ``OSError`` when the connection broke.
        """

    def write(self, data: bytes, timeout_s: float) -> None:
        """Write all of ``data`` to its standard input.

        Raises ``TimeoutError`` when it took nothing for ``timeout_s`` seconds, ``BrokenPipeError`` when it does not
        read any more, ``OSError`` when the connection broke.
        """

    def diagnosis(self) -> bytes:
        """Return the end of its standard error, as far as it came; at most ``DIAGNOSIS_BYTES``."""

    def wait(self, timeout_s: float) -> int | None:
        """Return its exit code (negative: the signal that ended it), ``None`` when it still runs or none is known."""

    def terminate(self) -> None:
        """End the connection to it, from any thread: a ``read`` that waits returns as at the end, or raises."""

    def close(self) -> None:
        """Close its standard input, let go of it, and give it a moment to end by itself. Safe to call twice."""


class Transport(Protocol):
    """A way to a host. Safe to use from several threads."""

    @property
    def name(self) -> str:
        """For messages: which host, by which way."""

    def open(self, argv: Sequence[str]) -> Process:
        """Start a command. An item that begins with ``~/`` is a path below the user's home folder.

        Returns without waiting for it: a command that cannot be executed may as well end at once, with code 126
        or 127 as a shell has it. Raises :class:`TargetUnreachableError`, :class:`TargetRefusedError`.
        """

    def close(self) -> None:
        """Close the connection, when there is one. Safe to call twice."""
