"""How late an event loop is: a trigger that sleeps, beside those that are measured."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.triggers.base import TriggerEvent

NAP_S = 0.01
#: So many naps make one write: it is in the loop, too.
NAPS_A_WRITE = 100


class LoopProbe(BaseTrigger):
    """Never fires. Each line of its file: when it woke up (seconds since the epoch), how much too late (seconds)."""

    def __init__(self, file: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.file = file

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another process makes this trigger from."""
        return f"{__name__}.{type(self).__name__}", {"file": self.file}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Nap for ever."""
        with open(self.file, "a") as file:
            lines = []
            while True:
                begun = time.perf_counter()
                await asyncio.sleep(NAP_S)
                lines.append(f"{time.time():.6f} {time.perf_counter() - begun - NAP_S:.6f}\n")
                if len(lines) >= NAPS_A_WRITE:
                    file.write("".join(lines))
                    file.flush()
                    lines.clear()
        yield  # type: ignore[unreachable]  # makes it an asynchronous generator
