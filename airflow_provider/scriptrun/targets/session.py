"""A session: one ``serve`` process of the supervisor, many requests, frames in both directions."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from airflow_provider.scriptrun.errors import ProtocolError, TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.supervisor.protocol import frames
from airflow_provider.scriptrun.targets.parse import is_waiting, target_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO

    from airflow_provider.scriptrun.targets.transports.base import Process

#: How long an answer, or the next piece of one, may take beyond what the request itself says that it waits.
PATIENCE_S = 60.0
#: What is asked of a stream at once.
READ_BYTES = 256 * 1024
#: What is handed to a stream at once: small frames travel together.
WRITE_BYTES = 128 * 1024
#: How long a few bytes may take to go into a stream that the other side reads.
INTERRUPT_PATIENCE_S = 1.0
#: How long a process whose output ended may take to say with which code.
_EXIT_PATIENCE_S = 5.0
#: What else may come between a command and us.
SHELL_ADVICE = (
    "May this user run any command (no ForceCommand in sshd_config, no command= in authorized_keys, a login shell)? "
    "The start-up files of the shell (.bashrc, .cshrc, config.fish) must not end it, wait or print much without a "
    "terminal."
)
#: How much of what a target printed goes into a message.
_QUOTED_CHARACTERS = 2000


class SessionBrokenError(TargetUnreachableError):
    """The connection ended in the middle: another session may be opened at once, and the request repeated."""


class NoSupervisorError(SessionBrokenError):
    """The command ended before a supervisor answered: it is not installed, or its Python is not there.

    :param exit_code: of the command, when it is known.
    :param output: what it printed.
    """

    def __init__(self, what: str, *, why: str | None, exit_code: int | None, output: str) -> None:
        super().__init__(what, why=why)
        self.exit_code, self.output = exit_code, output


class Session:
    """One ``serve`` process. For one thread at a time; ``terminate`` for any.

    What is written is buffered until something is read. A call that fails leaves the session ``broken``: close it.

    :param host: for messages.
    :param host_id: of the machine that it must be, which refuses each request otherwise; ``None``: any.
    """

    def __init__(self, process: Process, host: str, host_id: str | None = None) -> None:
        self._process, self._host, self.host_id = process, host, host_id
        self._owner = os.getpid()
        self._input = _Exact(process)
        self._reader = frames.FrameReader(cast("IO[bytes]", self._input))
        self._output = _Buffered(process)
        self._writer = frames.FrameWriter(cast("IO[bytes]", self._output))
        self._greeted = False
        self.banner = b""  #: what a login shell printed before the supervisor's first word
        self.broken = False
        self.answered = 0  #: how many requests were answered to their end
        self._asking = False

    @property
    def is_ours(self) -> bool:
        """Whether this process opened it: after a fork, two would write to the same stream."""
        return self._owner == os.getpid()

    @property
    def written(self) -> int:
        """How many bytes were handed to it so far, whatever became of them."""
        return self._output.taken

    @property
    def is_reusable(self) -> bool:
        """Whether the next frame would be the answer to the next request."""
        return self.is_ours and not self.broken and not self._asking

    def ask(self, request: dict[str, Any], *, wait_s: float = 0.0) -> dict[str, Any]:
        """Send a request of one frame and return its answer of one frame.

        :param wait_s: how long the request itself lets the target wait.
        :raises TargetError: what the target answered, or how the session broke.
        """
        self.put(request)
        answer = self.answer(wait_s=wait_s)
        self.done()
        return answer

    def put(self, document: dict[str, Any]) -> None:
        """Send one JSON object."""
        self._asking = True
        if self.host_id is not None and "op" in document:
            document = {**document, "host": self.host_id}
        self._guard(lambda: self._writer.json(document))

    def put_data(self, chunks: Iterable[bytes]) -> None:
        """Send a sequence of data, to its end. What ``chunks`` raises leaves the session broken, and is raised.

        A chunk is on its way when the next one is asked for.
        """
        try:
            for chunk in chunks:
                self._guard(partial(self._writer.data, chunk))
                self.flush()
        except BaseException:
            self.broken = True
            raise
        self._guard(self._writer.end)

    def flush(self) -> None:
        """Hand over what was put, without reading anything yet."""
        self._guard(self._output.flush)

    def interrupt(self) -> None:
        """End a poll that waits, from any thread, while another one reads its answer.

        Whether the connection still is there, that one sees.
        """
        with suppress(OSError, TargetUnreachableError):
            self._process.write(_interruption(), INTERRUPT_PATIENCE_S)

    def answer(self, *, wait_s: float = 0.0) -> dict[str, Any]:
        """Return the next JSON object; an ``error`` in it is raised."""
        document = self.next(wait_s=wait_s)
        if document.get("error") is not None and "run" not in document:
            self.done()
            raise target_error(document["error"], f"The target refused what it was asked ({self._host})")
        return document

    def in_turn(self) -> dict[str, Any]:
        """Return the next JSON object, as :meth:`answer` does, once others have sent what this session is to send."""
        while is_waiting(document := self.answer()):
            pass  # it is said more often than our patience ends
        return document

    def next(self, *, wait_s: float = 0.0) -> dict[str, Any]:
        """Return the next JSON object, whatever it says."""
        self._input.patience_s = PATIENCE_S
        self._guard(self._flush)
        self._input.patience_s = PATIENCE_S + wait_s
        document: dict[str, Any] | None = self._guard(self._reader.json)
        if document is None:
            raise self._ended()
        return document

    def data(self) -> Iterator[bytes]:
        """Yield the chunks of a sequence of data. Given up before its end, it leaves the session broken."""
        self._input.patience_s = PATIENCE_S
        self.broken = True
        chunks = self._reader.data()
        while True:
            chunk = self._guard(lambda: next(chunks, None))
            if chunk is None:
                self.broken = False
                return
            yield chunk

    def done(self) -> None:
        """Say that a request was answered to its end."""
        self.answered += 1
        self._asking = False

    def terminate(self) -> None:
        """End the connection, from any thread."""
        self.broken = True
        self._process.terminate()

    def close(self) -> None:
        """Let go of the process."""
        self.broken = True
        if self.is_ours:
            self._process.close()

    def _flush(self) -> None:
        self._output.flush()
        if not self._greeted:
            try:
                self.banner = frames.find_marker(cast("IO[bytes]", self._input))
            except frames.FrameError as error:
                if not self._input.ended:
                    raise self._too_much(str(error)) from None
                raise self._no_supervisor(str(error)) from None
            self._greeted = True

    def _guard(self, call: Any) -> Any:
        try:
            return call()
        except BrokenPipeError:
            self.broken = True
            return self._last_words()
        except TimeoutError:
            self.broken = True
            raise TargetUnreachableError(
                f"{self._host} did not answer for {self._input.patience_s:.0f} seconds",
                why=self._quoted(),
                advice="Is it overloaded, or stopped? The run goes on; the same call may go through later."
                if self._greeted
                else f"Is it overloaded, or stopped? {SHELL_ADVICE}",
            ) from None
        except frames.FrameError as error:
            self.broken = True
            if self._input.ended:
                raise self._ended() from None
            raise ProtocolError(f"{self._host} sent what no supervisor says", why=str(error)) from None
        except OSError as error:
            self.broken = True
            raise SessionBrokenError(f"The connection to {self._host} broke", why=str(error)) from None
        except TargetUnreachableError:
            self.broken = True
            raise

    def _last_words(self) -> Any:
        """It reads no more: it has answered with an error before it went, or it never was there."""
        self._output.drop()
        try:
            document = self.next()
        except frames.FrameError:
            raise self._ended() from None
        if document.get("error") is not None:
            raise target_error(document["error"], f"The target refused what it was asked ({self._host})")
        raise self._ended()

    def _ended(self) -> SessionBrokenError:
        self.broken = True
        if not self._greeted:
            return self._no_supervisor("")
        return SessionBrokenError(f"The connection to {self._host} ended in the middle", why=self._quoted())

    def _no_supervisor(self, banner: str) -> NoSupervisorError:
        self.broken = True
        code = self._process.wait(_EXIT_PATIENCE_S)
        output = (banner + "\n" + self._process.diagnosis().decode("utf-8", "replace")).strip()
        ended = "no supervisor answered" if code is None else f"the command ended with code {code}"
        return NoSupervisorError(
            f"{self._host}: {ended}",
            why=f"It said: {output[-_QUOTED_CHARACTERS:]}" if output else None,
            exit_code=code,
            output=output,
        )

    def _too_much(self, banner: str) -> TargetRefusedError:
        self.broken = True
        return TargetRefusedError(
            f"{self._host} prints more than {len(banner)} bytes before a command's own output",
            why=f"It begins with: {banner[:_QUOTED_CHARACTERS]}",
            advice=SHELL_ADVICE,
        )

    def _quoted(self) -> str | None:
        try:
            text = self._process.diagnosis().decode("utf-8", "replace").strip()
        except OSError:
            return None
        return f"Its last words: {text[-_QUOTED_CHARACTERS:]}" if text else None


def _interruption() -> bytes:
    """Return the frame that makes a poll make way, and is not answered."""
    stream = io.BytesIO()
    frames.FrameWriter(stream).json({"op": "wake"})
    return stream.getvalue()


class _Exact:
    """A process's output, read in large pieces, given in exact ones."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._buffer = bytearray()
        self.patience_s = PATIENCE_S
        self.ended = False

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer only at the end of the stream."""
        while len(self._buffer) < size and not self.ended:
            chunk = self._process.read(max(READ_BYTES, size - len(self._buffer)), self.patience_s)
            self.ended = not chunk
            self._buffer += chunk
        wanted = bytes(self._buffer[:size])
        del self._buffer[:size]
        return wanted


class _Buffered:
    """A process's input, written in large pieces."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._buffer = bytearray()
        self.taken = 0

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self.taken += len(data)
        if len(data) >= WRITE_BYTES:
            self.flush()
            self._process.write(data, PATIENCE_S)
            return
        self._buffer += data
        if len(self._buffer) >= WRITE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand everything over."""
        if self._buffer:
            data, self._buffer = self._buffer, bytearray()
            self._process.write(bytes(data), PATIENCE_S)

    def drop(self) -> None:
        """Forget what was not handed over: nobody reads it."""
        self._buffer = bytearray()
