"""Which content the runs of an experiment have brought into the workspace: what one leaves again is copied there.

``contents/<experiment>.json`` says of the latest large outputs where each lies. It is a hint: whatever is missing,
outdated or damaged in it, or lost because two runs were collected at once, costs a transfer and nothing else.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider.scriptrun.errors import WorkspaceError
from airflow_provider.scriptrun.runs import workspace_layout as layout

if TYPE_CHECKING:
    from typing import Any

    from airflow_provider.scriptrun.runs.objects import ObjectStore
    from airflow_provider.scriptrun.targets.contract import RemoteFile

_log = logging.getLogger(__name__)

_VERSION = 1
#: What is smaller is brought again sooner than it is looked for.
MIN_BYTES = 64 * 1024
#: So many of the latest are known, which keeps the object below some 400 KB.
MAX_CONTENTS = 2000


class Place(NamedTuple):
    """Where a content lies in the workspace."""

    object: str
    size: int  #: bytes
    mark: str  #: what the store said of the object once it was there and whole; empty where it says nothing


class Contents:
    """The contents of one experiment, read when first asked for.

    :param folder: of one of its runs.
    """

    def __init__(self, store: ObjectStore, folder: str) -> None:
        self._store, self._folder = store, folder.rpartition("/")[0] + "/"
        self._name = layout.contents_object(folder)
        self._known: dict[str, Place] | None = None
        self._is_changed = False

    def bring(self, file: RemoteFile, name: str) -> bool:
        """Make ``name`` an object with the content of ``file``, if that lies in the workspace; say whether it does."""
        place = self._places.get(file.sha256) if is_worth_it(file) else None
        if place is None:
            return False
        if place.size != file.size or place.object == name or not self._store.copy(place, file.sha256, name):
            del self._places[file.sha256]
            self._is_changed = True
            return False
        return True

    def note(self, file: RemoteFile, name: str) -> None:
        """Know from now on that ``name`` holds this file, which was verified when it was written."""
        if is_worth_it(file):
            self._places.pop(file.sha256, None)
            try:
                mark = self._store.mark(name)
            except WorkspaceError as error:
                _log.warning("%s will travel again: %s", self._store.uri(name), error)
                return
            self._places[file.sha256] = Place(name, file.size, mark)
            self._is_changed = True

    def save(self) -> None:
        """Write what is known, if that is more or less than it was. A store that refuses is logged."""
        if not self._is_changed:
            return
        latest = dict(list(self._places.items())[-MAX_CONTENTS:])
        try:
            self._store.put_json(self._name, {"version": _VERSION, "contents": list(latest.items())})
        except WorkspaceError as error:
            _log.warning("What the next run leaves again will travel again: %s", error)

    @property
    def _places(self) -> dict[str, Place]:
        if self._known is None:
            try:
                self._known = self._read(self._store.get_json(self._name))
            except (WorkspaceError, ValueError, TypeError, LookupError) as error:
                _log.warning("%s is not used and is made anew: %s", self._store.uri(self._name), error)
                self._known = {}
        return self._known

    def _read(self, document: Any) -> dict[str, Place]:
        if document is None or document["version"] != _VERSION:
            return {}
        places = {str(sha256): Place(str(at[0]), int(at[1]), str(at[2])) for sha256, at in document["contents"]}
        for place in places.values():
            if not place.object.startswith(self._folder) or ".." in place.object.split("/"):
                raise ValueError(f"it names {place.object!r:.200}, which no run of the experiment has brought")
        return places


def is_worth_it(file: RemoteFile) -> bool:
    """Whether it takes less to look for the content of a file than to bring it."""
    return file.size >= MIN_BYTES and file.path.startswith((f"{layout.OUTPUTS}/", f"{layout.LOGS}/"))
