"""Our trigger and Airflow's time trigger, noting when they fire: Airflow drops the last lines of a trigger's log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.triggers.temporal import DateTimeTrigger

from airflow_provider.scriptrun.triggers.run_over import ScriptRunTrigger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.triggers.base import TriggerEvent


def _note(file: str, number: int) -> None:
    with open(file, "a") as notes:
        notes.write(f"{number} {time.time():.6f}\n")


class TimedScriptRunTrigger(ScriptRunTrigger):
    """Each line of ``notes``: its number, and when it fired, in seconds since the epoch."""

    def __init__(self, wait: dict[str, Any], number: int, notes: str) -> None:
        super().__init__(wait)
        self._number, self._notes = number, notes

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire as it does, and note when."""
        async for event in super().run():
            _note(self._notes, self._number)
            yield event


class TimedDateTimeTrigger(DateTimeTrigger):
    """The same of a time trigger."""

    def __init__(self, target_time: str, number: int, notes: str) -> None:
        super().__init__(target_time=target_time)
        self._number, self._notes = number, notes

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire as it does, and note when."""
        async for event in super().run():
            _note(self._notes, self._number)
            yield event
