"""What a worker remembers of hosts: which machine answered under an address, and where its Python is.

Only saves time. A host that is remembered wrongly refuses what names another machine, and is then asked anew.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.supervisor.protocol.atomic import write_atomic
from airflow_provider.scriptrun.supervisor.protocol.canonical import canonical_json, digest
from airflow_provider.scriptrun.targets.status import HostFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A Python that was changed there, for instance by pyenv, is noticed after so long.
MAX_AGE_S = 86_400.0
FOLDER = "hosts"


@dataclass(frozen=True)
class KnownHost:
    """What an earlier answer said."""

    host: HostFacts
    interpreter: str
    notes: Mapping[str, str] = field(default_factory=dict)  #: what a kind of target has learned beside


class RememberedHosts:
    """All that is remembered under a folder of this worker, which is made when there is something to keep."""

    def __init__(self, cache_directory: str) -> None:
        self._folder = Path(cache_directory).expanduser() / FOLDER

    def of(self, address: str, root: str, interpreter: str) -> RememberedHost:
        """Return what is remembered of one way to use one host."""
        return RememberedHost(self._folder / digest(canonical_json([address, root, interpreter])))


class RememberedHost:
    """What is remembered of one host."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> KnownHost | None:
        """Return what is remembered; ``None``: nothing, or too old, or damaged."""
        try:
            document = json.loads(self._path.read_bytes())
            host = HostFacts(id=document["id"], name=document["name"])
            notes = document.get("notes", {})
            known = KnownHost(host, document["interpreter"], dict(notes))
            is_fresh = abs(time.time() - document["at"]) < MAX_AGE_S
        except (OSError, ValueError, KeyError, TypeError):
            return None
        texts = (host.id, host.name, known.interpreter, *known.notes, *known.notes.values())
        return known if is_fresh and all(isinstance(text, str) for text in texts) and host.id else None

    def save(self, host: HostFacts, interpreter: str, notes: Mapping[str, str] | None = None) -> None:
        """Remember it. A worker that cannot write there asks each time."""
        document = {"id": host.id, "name": host.name, "interpreter": interpreter, "at": time.time()}
        if notes:
            document["notes"] = dict(notes)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(str(self._path), canonical_json(document))
        except OSError:
            return
