"""The process behind a :class:`~tests.network.proxy.DelayingProxy`: forwards connections, obeys lines on its input.

It ends with its input, so with whoever started it. Usage: ``python -m tests.network.relay ADDRESS PORT``.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.network.line import CutError, Direction, Line

LOOPBACK = "127.0.0.1"
#: As many clients may knock before they are let in.
_BACKLOG = 512
#: Close by a reset, as a broken connection does, and not in good order; see socket(7).
_RESET = struct.pack("ii", 1, 0)


@dataclass
class Pair:
    """A client's connection, and ours to the real server, which is made a little later."""

    client: socket.socket
    server: socket.socket
    connects_at: float  #: when the server sees the connection
    up: Line
    down: Line
    is_connected: bool = False
    masks: dict[socket.socket, int] = field(default_factory=dict)  #: what each socket is watched for

    @property
    def lines(self) -> tuple[Line, ...]:
        """Those that something may be read from."""
        return (self.up, self.down) if self.is_connected else (self.up,)


class Relay:
    """A single thread that forwards everything.

    :param target: where connections lead: address and port.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._selector = selectors.EpollSelector()
        self._up, self._down = Direction(), Direction()
        self._pairs: list[Pair] = []
        self._accepted = 0
        self._is_stalled = False
        self._listener: socket.socket | None = None
        self._port = 0
        self._listen()

    def run(self) -> None:
        """Forward until standard input ends."""
        self._selector.register(0, selectors.EVENT_READ)
        self._answer({"port": self._port})
        commands = b""
        while True:
            for key, _ in self._wait():
                if key.fileobj == 0:
                    received = os.read(0, 65536)
                    if not received:
                        return
                    *lines, commands = (commands + received).split(b"\n")
                    for line in lines:
                        self._obey(json.loads(line))
                elif key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.data, Pair):
                    self._read(key.data, key.fileobj)
            self._forward()

    # Waiting

    def _wait(self) -> list[tuple[selectors.SelectorKey, int]]:
        due = None if self._is_stalled else self._due()
        if due is not None:
            # epoll counts in milliseconds, which is too coarse for a delay of one; select counts in microseconds
            select.select([self._selector.fileno()], [], [], max(0.0, due - time.monotonic()))
            return self._selector.select(0)
        return self._selector.select()

    def _due(self) -> float | None:
        """Return the time of the next thing to do that no socket announces."""
        now = time.monotonic()
        times = []
        for pair in self._pairs:
            if not pair.is_connected:
                times.append(pair.connects_at)
                continue
            for line in pair.lines:
                due = line.due()
                if due is not None and (due > now or not self._is_blocked(pair, line.sink)):
                    times.append(due)
        return min(times, default=None)

    def _is_blocked(self, pair: Pair, sink: socket.socket) -> bool:
        return bool(pair.masks.get(sink, 0) & selectors.EVENT_WRITE)

    def _watch(self, pair: Pair, now: float) -> None:
        """Have the selector report what this pair can go on with."""
        wanted = {pair.client: 0, pair.server: 0}
        if not self._is_stalled:
            for line in pair.lines:
                due = line.due()
                wanted[line.source] |= selectors.EVENT_READ if line.is_reading(now) else 0
                is_ripe = due is not None and due <= now and pair.is_connected
                wanted[line.sink] |= selectors.EVENT_WRITE if is_ripe else 0
        for end, mask in wanted.items():
            before = pair.masks.get(end, 0)
            if mask and before and mask != before:
                self._selector.modify(end, mask, pair)
            elif mask and not before:
                self._selector.register(end, mask, pair)
            elif before and not mask:
                self._selector.unregister(end)
            pair.masks[end] = mask

    # Connections

    def _listen(self) -> None:
        self._listener = socket.create_server((LOOPBACK, self._port), backlog=_BACKLOG)
        self._listener.setblocking(False)
        self._port = self._listener.getsockname()[1]
        if not self._is_stalled:
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _refuse(self) -> None:
        if self._listener is not None:
            if not self._is_stalled:
                self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            client, _ = self._listener.accept()
        except OSError:  # it left already
            return
        self._accepted += 1
        server = socket.socket(socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET)
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # TCP's handshake: the client may send after one round trip; the server is connected when that arrives
        client_knows_at = time.monotonic() + self._up.delay_s + self._down.delay_s
        up = Line(client, server, self._up, client_knows_at)
        down = Line(server, client, self._down)
        self._pairs.append(Pair(client, server, client_knows_at + self._up.delay_s, up, down))

    def _read(self, pair: Pair, end: Any) -> None:
        now = time.monotonic()
        for line in pair.lines:
            if line.source is end and line.is_reading(now):
                try:
                    line.read(now)
                except OSError:
                    self._drop(pair)

    def _forward(self) -> None:
        if self._is_stalled:
            return
        now = time.monotonic()
        for pair in list(self._pairs):
            try:
                self._move(pair, now)
            except (OSError, CutError):
                self._drop(pair)
                continue
            if pair.up.finished and pair.down.finished:
                self._close(pair)
            else:
                self._watch(pair, now)

    def _move(self, pair: Pair, now: float) -> None:
        if pair.connects_at > now:
            return
        if not pair.is_connected:
            pair.is_connected = True
            with suppress(BlockingIOError):
                pair.server.connect(self._target)
        for line in pair.lines:
            line.write(now)

    def _drop(self, pair: Pair) -> None:
        for end in (pair.client, pair.server):
            if end.fileno() >= 0:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close(pair)

    def _close(self, pair: Pair) -> None:
        if pair not in self._pairs:
            return
        self._pairs.remove(pair)
        for end in (pair.client, pair.server):
            if pair.masks.get(end):
                self._selector.unregister(end)
            end.close()

    # Commands

    def _obey(self, command: dict[str, Any]) -> None:
        """Do one command and answer with the counts: it has taken effect by then."""
        name, value = next(iter(command.items()))
        if name == "rtt_s":
            self._up.delay_s = self._down.delay_s = value / 2
        elif name == "drop":
            for pair in list(self._pairs):
                self._drop(pair)
        elif name == "refuse":
            if value:
                self._refuse()
            elif self._listener is None:
                self._listen()
        elif name == "stall":
            self._stall(value)
        elif name == "cut":
            direction = self._up if value["direction"] == "up" else self._down
            direction.left_bytes = value["after_bytes"]
        self._answer(
            {
                "up_bytes": self._up.delivered_bytes,
                "down_bytes": self._down.delivered_bytes,
                "connections": self._accepted,
                "open_connections": len(self._pairs),
            }
        )

    def _stall(self, is_stalled: bool) -> None:
        if is_stalled == self._is_stalled:
            return
        self._is_stalled = is_stalled
        if self._listener is not None:
            if is_stalled:
                self._selector.unregister(self._listener)
            else:
                self._selector.register(self._listener, selectors.EVENT_READ)
        for pair in self._pairs:
            self._watch(pair, time.monotonic())

    def _answer(self, document: dict[str, Any]) -> None:
        os.write(1, json.dumps(document).encode() + b"\n")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        Relay((sys.argv[1], int(sys.argv[2]))).run()
