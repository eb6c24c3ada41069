"""The Docker transport: a command in the keeper's container, through the engine's exec."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import TargetUnreachableError
from airflow_provider.scriptrun.targets.docker.engine import Engine, EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider.scriptrun.targets.docker.keeper import Keeper
    from airflow_provider.scriptrun.targets.docker.streams import EngineStream

#: Of an exec whose container is gone, or on its way out.
_GONE = (404, 409, 500)
_TRIES = 3
#: The engine hears of a command's end a moment after its streams have ended.
_LOOK_S = 0.01


class DockerTransport:
    """Runs commands beside the volume of an engine."""

    def __init__(self, engine: Engine, keeper: Keeper) -> None:
        self.name = engine.name
        self._engine, self._keeper = engine, keeper

    def open(self, argv: Sequence[str]) -> DockerProcess:
        """Start a command. Raises :class:`TargetUnreachableError`, :class:`TargetRefusedError`."""
        for attempt in range(_TRIES):
            name = self._keeper.name()
            try:
                return self._execute(name, argv)
            except EngineError as error:
                self._keeper.gone()
                if error.code not in _GONE or attempt == _TRIES - 1:
                    raise
        raise AssertionError("the last try returns or raises")

    def _execute(self, name: str, argv: Sequence[str]) -> DockerProcess:
        identifier, stream = self._engine.execute(name, argv)
        return DockerProcess(self._engine, identifier, stream)

    def close(self) -> None:
        """Close the connections to the engine. Safe to call twice."""
        self._engine.close()


class DockerProcess:
    """A command in a container. See :class:`~.base.Process`."""

    def __init__(self, engine: Engine, identifier: str, stream: EngineStream) -> None:
        self._engine, self._identifier, self._stream = engine, identifier, stream

    def read(self, size: int, timeout_s: float) -> bytes:
        """See :class:`~.base.Process`."""
        return self._stream.read(size, timeout_s)

    def write(self, data: bytes, timeout_s: float) -> None:
        """See :class:`~.base.Process`."""
        self._stream.write(data, timeout_s)

    def diagnosis(self) -> bytes:
        """See :class:`~.base.Process`."""
        self._stream.drain()
        return self._stream.errors

    def wait(self, timeout_s: float) -> int | None:
        """See :class:`~.base.Process`."""
        deadline = time.monotonic() + timeout_s
        with suppress(EngineError, TargetUnreachableError):
            while True:
                document = self._engine.call("a command", lambda client: client.exec_inspect(self._identifier))
                code = document.get("ExitCode")
                if isinstance(code, int) and not document.get("Running"):
                    return code
                if time.monotonic() > deadline:
                    return None
                time.sleep(_LOOK_S)
        return None

    def terminate(self) -> None:
        """See :class:`~.base.Process`."""
        self._stream.terminate()

    def close(self) -> None:
        """See :class:`~.base.Process`. It ends by itself: its input has."""
        self._stream.close_input()
        self._stream.close()
