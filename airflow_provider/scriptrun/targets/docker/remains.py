"""Containers of runs that are over, on an engine that must not remove them itself.

An engine with live-restore leaves containers alone while it is away; but those that are to go by themselves
(``AutoRemove``) it removes when it comes back, running or not (20.10 does). So none of a run is made like that there.
What a run leaves is in the volume: its container goes with whoever sees the run's end, or else with the next start.
So does, on any engine, one that was to go by itself when the engine came back, and did not; and one that was made by
a worker which died before it started it, where nobody asked for that run again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import TargetError
from airflow_provider.scriptrun.targets.docker.engine import Engine, EngineError
from airflow_provider.scriptrun.targets.docker.keeper import CONFLICT
from airflow_provider.scriptrun.targets.docker.labels import KIND_LABEL, RUN, VOLUME_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterable

#: From the verdict of a run to the end of its container's first process.
END_S = 10
#: One that was made is started at once, or never. That long after, by this machine's clock: the start of one that goes
#: because of a clock that is wrong is tried again.
ABANDONED_S = 3600.0


class Remains:
    """What runs beside one volume left of themselves in the engine. Safe to use from several threads."""

    def __init__(self, engine: Engine, volume: str) -> None:
        self._engine, self._volume = engine, volume
        self._gone: set[str] = set()

    def remove(self, run_ids: Iterable[str]) -> None:
        """Remove the containers of runs that are over. What keeps us from it is no matter of theirs."""
        wanted = [run_id for run_id in run_ids if run_id not in self._gone]
        with suppress(TargetError):
            if not wanted or not self._engine.restores_live():
                return
            for run_id in wanted:
                self._remove(f"{self._volume}-{run_id}")
                self._gone.add(run_id)

    def sweep(self) -> None:
        """Remove those that ended while nobody watched, that an engine has failed to remove, or that never started."""
        labels, states = [f"{VOLUME_LABEL}={self._volume}"], ["created", "exited", "dead"]
        with suppress(TargetError):
            for found in self._engine.call(
                "its containers",
                lambda client: client.containers(all=True, filters={"label": labels, "status": states}),
            ):
                is_over = found["State"] != "created" and found["Labels"].get(KIND_LABEL) == RUN
                is_abandoned = found["State"] == "created" and time.time() - found["Created"] > ABANDONED_S
                if is_over or is_abandoned:
                    self._remove(str(found["Id"]))

    def _remove(self, container: str) -> None:
        try:
            self._discard(container)
        except EngineError as error:
            if error.code != CONFLICT:
                raise
            self._engine.find("a container's end", lambda client: client.wait(container, timeout=END_S))
            self._discard(container)

    def _discard(self, container: str) -> None:
        self._engine.find("a container's removal", lambda client: client.remove_container(container, v=True))
