"""A run's ``status.json``: written by whoever holds the run's ``alive`` lock, whole, with a serial that grows."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time

from .protocol.atomic import write_atomic
from .protocol.status import Status

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

    from .layout import RunLayout

#: What the last status of a run may need on a full disk.
RESERVE_BYTES = 32 * 1024
#: Of what is said of a run that has not started, while somebody is about to begin it.
PROMISED_SERIAL = 1
#: Known only here: what the memory counters were when the script started.
PRIVATE = ("memory",)
_FULL = (errno.ENOSPC, errno.EDQUOT)


def now() -> str:
    """Return the time as ISO 8601 in UTC with milliseconds."""
    seconds = time.time()
    whole = int(seconds)
    return "%s.%03dZ" % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)), int((seconds - whole) * 1000))


def blank(run_id: str) -> Dict[str, Any]:
    """Return the status of a run about which nothing is known yet."""
    return {
        "serial": 0,
        "run": run_id,
        "status": Status.NOT_STARTED.value,
        "reason": None,
        "message": None,
        "exit_code": None,
        "signal": None,
        "created_at": None,
        "started_at": None,
        "ended_at": None,
        "phases": {},
        "environment": None,
        "command": [],
        "host": None,
        "supervisor": None,
        "last_lines": None,
        "attempt": None,
    }


def public(document: Dict[str, Any]) -> Dict[str, Any]:
    """Return the document without what only the target needs."""
    return {name: value for name, value in document.items() if name not in PRIVATE}


def read(run: RunLayout) -> Optional[Dict[str, Any]]:
    """Return what was written last; ``None`` when nothing was, or the disk lost it (which counts as nothing)."""
    try:
        with open(run.status, "rb") as file:
            document = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return document if isinstance(document, dict) and "status" in document else None


def is_over(document: Optional[Dict[str, Any]]) -> bool:
    """Whether the document is a verdict."""
    return document is not None and Status(document["status"]).is_terminal


def reserve(run: RunLayout) -> None:
    """Put some bytes aside, so that the verdict of a run that fills the disk can still be written.

    Raises ``OSError`` when the disk is that full already; nothing is put aside then.
    """
    descriptor = os.open(run.reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        left = RESERVE_BYTES
        while left:
            left -= os.write(descriptor, b"\0" * left)
    except OSError:
        os.unlink(run.reserve)
        raise
    finally:
        os.close(descriptor)


class Journal:
    """Writes a run's status. One process at a time has one: the holder of ``alive``."""

    def __init__(self, run: RunLayout, document: Dict[str, Any]) -> None:
        self._run = run
        self.document = document

    def write(self, status: Optional[Status] = None, **changes: Any) -> None:
        """Change some fields and write them all; a verdict durably. Raises ``OSError``, on a full disk too."""
        self.document.update(changes)
        if status is not None:
            self.document["status"] = status.value
        self.document["serial"] = max(self.document["serial"], PROMISED_SERIAL) + 1
        payload = json.dumps(self.document, separators=(",", ":"))
        durable = is_over(self.document)
        try:
            write_atomic(self._run.status, payload, durable=durable)
        except OSError as error:
            if error.errno not in _FULL or not durable:
                raise
            os.unlink(self._run.reserve)
            write_atomic(self._run.status, payload, durable=durable)

    def write_if_room(self, status: Status) -> None:
        """Write a status that the next one says as well; on a full disk nothing is written. Raises ``OSError``."""
        try:
            self.write(status)
        except OSError as error:
            if error.errno not in _FULL:
                raise

    def drop_reserve(self) -> None:
        """Give back what was put aside: the verdict stands."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._run.reserve)
