"""A process that says what a test wrote down, in the place of a supervisor: the seam is ``transports.base``."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.supervisor.protocol import frames

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class ScriptedProcess:
    """Implements :class:`transports.base.Process` with bytes from a test.

    :param output: what it writes; handed out in pieces of ``piece`` bytes.
    :param hangs: whether reading behind it waits for ever (and so times out) instead of coming to the end.
    """

    def __init__(
        self,
        output: bytes = b"",
        *,
        errors: bytes = b"",
        code: int | None = 0,
        piece: int = 1 << 20,
        hangs: bool = False,
        deaf: bool = False,
    ) -> None:
        self._output, self._errors, self._code, self._piece = io.BytesIO(output), errors, code, piece
        self._hangs, self._deaf = hangs, deaf
        self.written = b""
        self.closed = self.terminated = False

    def read(self, size: int, timeout_s: float) -> bytes:
        piece = self._output.read(min(size, self._piece))
        if not piece and self._hangs:
            raise TimeoutError
        return piece

    def write(self, data: bytes, timeout_s: float) -> None:
        if self._deaf:
            raise BrokenPipeError
        self.written += data

    def diagnosis(self) -> bytes:
        return self._errors

    def wait(self, timeout_s: float) -> int | None:
        return self._code

    def terminate(self) -> None:
        self.terminated = True

    def close(self) -> None:
        self.closed = True


class ScriptedTransport:
    """Implements :class:`transports.base.Transport`: each command gets the next of some processes."""

    name = "host under test"

    def __init__(self, *processes: ScriptedProcess | Callable[[Sequence[str]], ScriptedProcess]) -> None:
        self._processes = list(processes)
        self.commands: list[list[str]] = []
        self.closed = False

    def open(self, argv: Sequence[str]) -> ScriptedProcess:
        self.commands.append(list(argv))
        process = self._processes.pop(0)
        return process if isinstance(process, ScriptedProcess) else process(argv)

    def close(self) -> None:
        self.closed = True


def said(*parts: dict | bytes | None) -> bytes:
    """Return the bytes of a session: the marker, then frames: an object, data, or ``None`` for the end of data."""
    stream = io.BytesIO()
    stream.write(frames.MARKER)
    writer = frames.FrameWriter(stream)
    for part in parts:
        if part is None:
            writer.end()
        elif isinstance(part, bytes):
            writer.data(part)
        else:
            writer.json(part)
    return stream.getvalue()
