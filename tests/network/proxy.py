"""A way to a server with a delay, that counts what passes and breaks on request."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from tests.network.host import Way
from tests.network.relay import LOOPBACK

_TOP = Path(__file__).parents[2]


@dataclass(frozen=True)
class Traffic:
    """What passed since the proxy started.

    :param up_bytes: delivered to the server.
    :param down_bytes: delivered to the client.
    :param connections: accepted, the closed ones too.
    """

    up_bytes: int
    down_bytes: int
    connections: int
    open_connections: int


class DelayingProxy:
    """Listens on loopback and leads to ``server``: every byte is on its way for half a round trip.

    However many there are: it is a delay, and no limit. A new connection costs one round trip before its first byte
    leaves, as TCP's handshake does. It runs in a process of its own, whose work takes nothing from whoever measures;
    what is asked of it has taken effect when the call returns. Left with :meth:`stop`, or as a context.

    :param server: where connections lead.
    :param rtt_s: the round trip in seconds.
    """

    def __init__(self, server: Way, rtt_s: float = 0.0) -> None:
        self.address = LOOPBACK
        command = [sys.executable, "-m", "tests.network.relay", server.address, str(server.port)]
        self._process = subprocess.Popen(
            command, cwd=_TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self.port: int = self._answer()["port"]
        self.set_rtt(rtt_s)

    def set_rtt(self, rtt_s: float) -> None:
        """Change the round trip; what is on its way arrives when it would have."""
        self._ask("rtt_s", rtt_s)

    def traffic(self) -> Traffic:
        """Return what passed."""
        return Traffic(**self._ask("traffic", None))

    def drop(self) -> None:
        """Reset every connection, on both sides; what is on its way is lost."""
        self._ask("drop", None)

    def refuse(self, is_refusing: bool = True) -> None:
        """Refuse new connections, or accept them again at the same port. Open ones stay."""
        self._ask("refuse", is_refusing)

    def stall(self, is_stalled: bool = True) -> None:
        """Forward nothing and close nothing, or go on: a link that swallows everything."""
        self._ask("stall", is_stalled)

    def cut(self, direction: Literal["up", "down"], after_bytes: int | None) -> None:
        """Reset the connection over which a byte passes, once: the last of so many from now in this direction.

        :param after_bytes: from 1, counted over all connections; ``None``: reset none.
        """
        self._ask("cut", {"direction": direction, "after_bytes": after_bytes})

    def stop(self) -> None:
        """Close everything and end the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> DelayingProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _ask(self, name: str, value: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({name: value}).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the relay ended with {self._process.wait()}"
        document: dict[str, Any] = json.loads(line)
        return document
