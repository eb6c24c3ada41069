"""How far a watcher outside of any task has come, in the run's folder: for its successor, and for whoever has to know
whether somebody watches."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import ConfigurationError, WorkspaceError
from airflow_provider.scriptrun.targets.contract import Cursor, Stream

if TYPE_CHECKING:
    from airflow_provider.scriptrun.runs.objects import ObjectStore

log = logging.getLogger(__name__)

NAME = "watched.json"


class Trail:
    """One run's. A workspace that this process cannot reach costs repeated lines in a log, and nothing else.

    :param folder: of the run, in the workspace.
    """

    def __init__(self, objects: ObjectStore, folder: str) -> None:
        self._objects, self._name = objects, f"{folder}/{NAME}"

    def leave(self, cursor: Cursor) -> None:
        """Store how far this watcher has come, and that it watches now."""
        try:
            self._objects.put_json(self._name, {**cursor.document(), "at": time.time()})
        except WorkspaceError as error:
            log.debug("How far the log was shown could not be stored: %s", error)

    def furthest(self, cursor: Cursor) -> Cursor:
        """Return ``cursor``, or what an earlier watcher left where that had shown more of the log."""
        document = self._read()
        try:
            left = Cursor.from_document(document) if document else cursor
        except ConfigurationError:
            return cursor
        is_further = left.offsets.get(Stream.RUN_LOG, 0) > cursor.offsets.get(Stream.RUN_LOG, 0)
        return left if left.run_id == cursor.run_id and is_further else cursor

    def watched_at(self) -> float | None:
        """Return when somebody was last known to watch, in seconds since the epoch; ``None``: nobody left word."""
        at = self._read().get("at")
        return float(at) if isinstance(at, (int, float)) else None

    def _read(self) -> dict[str, object]:
        try:
            document = self._objects.get_json(self._name)
        except WorkspaceError:
            return {}
        return document if isinstance(document, dict) else {}
