"""The lineage of a task's runs: what must outlive a worker, to come back to its run and start no second one."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider.scriptrun.targets.contract import Attempt, Cursor
from airflow_provider.scriptrun.targets.request import DEFAULT_GRACE_S

if TYPE_CHECKING:
    from airflow_provider.scriptrun.runs.objects import ObjectStore

__all__ = ["CURSOR", "DELIVERED", "LINEAGE", "Attempt", "Lineage", "LineageStore", "Nowhere", "WorkspaceLineage"]

#: Names under which a :class:`LineageStore` keeps its values.
LINEAGE, CURSOR, DELIVERED = "lineage", "cursor", "delivered"


class LineageStore(Protocol):
    """A few small JSON values by name, that outlive the process. For a task: Airflow's task state store."""

    def get(self, name: str) -> Any:
        """Return the value, or ``None``."""

    def set(self, name: str, value: Any) -> None:
        """Store the value; it is durable when this returns."""


class Nowhere:
    """Of a run with a fresh id of its own: nobody can come back to it but by that id, which its workspace knows."""

    def get(self, _name: str) -> Any:  # noqa: D102
        return None

    def set(self, _name: str, _value: Any) -> None:  # noqa: D102
        pass


class WorkspaceLineage:
    """Of a run whose id the caller gave: an object in the run's folder."""

    def __init__(self, store: ObjectStore, folder: str) -> None:
        self._store, self._folder = store, folder

    def get(self, name: str) -> Any:  # noqa: D102
        return self._store.get_json(self._name(name))

    def set(self, name: str, value: Any) -> None:  # noqa: D102
        if name == LINEAGE:
            self._store.put_json(self._name(name), value)

    def _name(self, name: str) -> str:
        return f"{self._folder}/{name}.json"


@dataclass(frozen=True)
class Lineage:
    """What is stored before a run is asked for."""

    id: str
    connection: str  #: the connection id of the target, or ``local``
    host_id: str  #: of the host where the latest run was asked for
    run_id: str  #: of the latest run that was asked for
    orphan_after_s: float | None = None  #: a run that nobody watched for so long has ended itself; ``None``: never
    grace_s: float = DEFAULT_GRACE_S  #: between its SIGTERM and SIGKILL
    watched_at: float = field(default_factory=time.time)  #: seconds since the epoch

    @classmethod
    def load(cls, store: LineageStore) -> Lineage | None:
        """Return the stored lineage, if there is one; fields of a later release are left alone."""
        document = store.get(LINEAGE)
        if not document:
            return None
        return cls(**{name: document[name] for name in cls.__dataclass_fields__ if name in document})

    def save(self, store: LineageStore) -> None:
        """Store it; from then on every try comes back to it."""
        store.set(LINEAGE, asdict(self))


def load_cursor(store: LineageStore, run_id: str) -> Cursor | None:
    """Return how far an earlier watcher of this run has come."""
    document = store.get(CURSOR)
    if not document or document.get("run") != run_id:
        return None
    return Cursor.from_document(document)


def last_watched(store: LineageStore, lineage: Lineage) -> float:
    """Return when somebody last watched a run of this lineage, in seconds since the epoch, as far as is known."""
    document = store.get(CURSOR) or {}
    return max(lineage.watched_at, float(document.get("at", 0.0)))


def save_cursor(store: LineageStore, cursor: Cursor, *, handed_over: bool = False) -> None:
    """Store how far this watcher has come, and when that was.

    :param handed_over: from here on somebody watches who cannot write to this store: a triggerer.
    """
    store.set(CURSOR, {**cursor.document(), "at": time.time(), "handed_over": handed_over})


def is_handed_over(store: LineageStore) -> bool:
    """Whether the latest watcher that wrote to this store has handed the run over to one that cannot."""
    return bool((store.get(CURSOR) or {}).get("handed_over"))
