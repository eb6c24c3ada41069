"""A triggerer with one trigger, as Airflow runs it: made from what the database keeps, in an event loop of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from types import SimpleNamespace
from typing import Any

from airflow_provider.scriptrun.triggers.run_over import ScriptRunTrigger
from tests.airflow.harness import RUN_ID, FakeAirflow

#: Beyond what any of these tests waits for.
PATIENCE_SECONDS = 60.0


def trigger_of(airflow: FakeAirflow) -> ScriptRunTrigger:
    """The trigger as a triggerer makes it from what Airflow keeps of it: plain JSON."""
    kept = json.loads(json.dumps(airflow.stored.deferred))
    assert kept["classpath"] == f"{ScriptRunTrigger.__module__}.{ScriptRunTrigger.__name__}"
    made = ScriptRunTrigger(**kept["trigger_kwargs"])
    made.task_instance = SimpleNamespace(dag_id="dag", task_id="train", run_id=RUN_ID, map_index=-1)
    return made


class Triggerer:
    """One trigger in an event loop of its own, in a thread; its log's lines in ``lines``."""

    def __init__(self, trigger: ScriptRunTrigger) -> None:
        self._trigger = trigger
        self.event: Any = None
        self.lines: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._run())
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._quietly(),))
        self._thread.start()

    async def _run(self) -> None:
        log = SimpleNamespace(info=self._hear, warning=self._hear)
        type(self._trigger).log = log  # the triggerer's own writes a file
        try:
            async for event in self._trigger.run():
                self.event = event.payload
        finally:
            await self._trigger.cleanup()

    def _hear(self, text: str, *values: object) -> None:
        self.lines.append(text % values if values else text)

    async def _quietly(self) -> None:
        await asyncio.wait([self._task])

    def wait(self) -> Any:
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), self.lines
        self._loop.close()
        if not self._task.cancelled() and self._task.exception():
            raise self._task.exception()  # type: ignore[misc]
        return self.event

    def stop(self) -> None:
        """End the trigger as a triggerer does that is told to stop."""
        self._loop.call_soon_threadsafe(self._task.cancel)
        self.wait()
