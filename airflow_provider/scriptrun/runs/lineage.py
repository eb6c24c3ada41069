"""The lineage of a task's runs: what must be known after a worker died, to come back to the run and not start a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

#: Names under which a :class:`LineageStore` keeps its values.
LINEAGE, CURSOR, DELIVERED = "lineage", "cursor", "delivered"


class LineageStore(Protocol):
    """A few small JSON values by name, that outlive the process. For a task: Airflow's task state store."""

    def get(self, name: str) -> Any:
        """Return the value, or ``None``."""

    def set(self, name: str, value: Any) -> None:
        """Store the value; it is durable when this returns."""


@dataclass(frozen=True)
class Attempt:
    """Which try of a task asks: what the target's ``decide`` compares with the latest run of the lineage."""

    try_number: int = 1
    max_tries: int = 0
    clear_number: int = 0


@dataclass(frozen=True)
class Lineage:
    """What is stored before the target is contacted (JSON: ``to_document``)."""

    id: str
    connection: str  #: the connection id of the target, or ``local``
    host_id: str  #: of the host where the latest run was asked for
    run_id: str  #: of the latest run that was asked for
