"""Stand-ins at two seams: a :class:`ComputeTarget` that a test moves by hand, and surroundings without Airflow."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import ConfigurationError, TargetUnreachableError, UnknownRunError
from airflow_provider.scriptrun.runs.settings import Settings
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets.contract import (
    ComputeTarget,
    Cursor,
    FetchedFile,
    Handle,
    HostFacts,
    Listing,
    News,
    Outcome,
    RemoteFile,
    RunStatus,
    Sent,
    Started,
    Stream,
    StreamPart,
    TargetFacts,
)
from airflow_provider.scriptrun.targets.wake import Wake

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from airflow_provider.scriptrun.runs.surroundings import ConnectionFields


class FakeRun:
    def __init__(self) -> None:
        self.status = RunStatus(serial=1, status=Status.STARTING, document={"serial": 1, "status": "Starting"})
        self.streams = dict.fromkeys(Stream, b"")
        self.files: dict[str, bytes] = {}


class FakeTarget(ComputeTarget):
    """A target in memory. Tests call :meth:`write`, :meth:`move`, :meth:`end`, and put exceptions into ``trouble``."""

    target_type = "fake"
    name = "fake"

    def __init__(self, name: str = "fake", host_id: str = "machine-1") -> None:
        self.name, self._host_id = name, host_id
        self.runs: dict[str, FakeRun] = {}
        self.calls: list[tuple] = []
        self.trouble: list[Exception] = []
        self.changed = threading.Condition()
        self.has_snapshot = True
        self.has: set[str] = set()  #: ids of other snapshots that are there
        self.starts_behind = False  #: a start may follow what is sent in the same flight
        self.lost_answers: list[Exception] = []  #: raised in place of an answer to what was sent and started
        self.base: bytes | None = None  #: of the latest send
        self.answers: list[Started] = []
        self.closed = False
        self.max_part = 1 << 30
        self.skipped: dict[str, str] = {}
        self.asked: list[Cursor] = []  #: in the latest poll
        self.waiting = 0  #: polls that wait for news now; ``changed`` tells

    # What a test does to it

    def run(self, run_id: str = "r") -> FakeRun:
        return self.runs.setdefault(run_id, FakeRun())

    def write(self, data: bytes, run_id: str = "r", stream: Stream = Stream.RUN_LOG) -> None:
        with self.changed:
            self.run(run_id).streams[stream] += data
            self.changed.notify_all()

    def move(self, status: Status, run_id: str = "r", **more) -> None:
        with self.changed:
            run = self.run(run_id)
            document = {"serial": run.status.serial + 1, "status": status.value}
            run.status = replace(run.status, serial=run.status.serial + 1, status=status, document=document, **more)
            self.changed.notify_all()

    def end(self, status: Status = Status.COMPLETED, run_id: str = "r", **more) -> None:
        self.move(status, run_id, **more)

    # The verbs

    def _ask(self, *call) -> None:
        self.calls.append(call)
        if self.trouble:
            raise self.trouble.pop(0)

    def check(self):
        self._ask("check")
        return TargetFacts(
            host=HostFacts(self._host_id, "boot", "fake-host"), root="/root", user="u", python="3.11", interpreter="/p",
            implementation="cpython", system="Linux", machine="x", libc=None, supervisor="1", protocol=1,
        )  # fmt: skip

    def start(self, request):
        self._ask("start", request.run_id)
        self.request = request
        if self.answers:
            return self.answers.pop(0)
        if not self.has_snapshot:
            base = next((base for base in request.bases if base in self.has), None)
            return Started(Outcome.MISSING, request.run_id, missing=(request.snapshot_id,), base=base)
        joined = request.run_id in self.runs
        return Started(Outcome.ACCEPTED, request.run_id, status=self.run(request.run_id).status, joined=joined)

    def send(self, snapshot, *, base=None, progress=None, then=None):
        self._ask("send", snapshot.id)
        self.base = base
        sent = Sent() if self.has_snapshot else Sent(snapshot.files, snapshot.bytes)
        self.has_snapshot = True
        if not self.starts_behind:
            return sent
        started = self.start(then(sent))
        if self.lost_answers:
            raise self.lost_answers.pop(0)
        return replace(sent, started=started)

    def poll(self, cursors, *, wait_s=20.0, max_bytes=1 << 22, wake=None):
        cursors = list(cursors)
        self.asked = cursors
        self._ask("poll")
        end = time.monotonic() + wait_s
        with (wake or Wake()).heard_by(self._notify), self.changed:
            while True:
                found = [news for news in (self._news(cursor, max_bytes) for cursor in cursors) if news]
                if found:
                    return found
                if self.closed or self.trouble:
                    raise TargetUnreachableError("The connection was closed")
                left = end - time.monotonic()
                if left <= 0 or (wake is not None and wake.is_rung):
                    return []
                self.waiting += 1
                self.changed.notify_all()
                self.changed.wait(left)
                self.waiting -= 1

    def _news(self, cursor, max_bytes):
        if cursor.run_id not in self.runs:
            return News(cursor.run_id, None, error=UnknownRunError(f"no run {cursor.run_id}"))
        run = self.runs[cursor.run_id]
        parts, room = [], min(max_bytes, self.max_part)
        for stream, offset in cursor.offsets.items():
            data = run.streams[stream]
            parts.append(StreamPart(stream, offset, data[offset : offset + room], len(data)))
        is_new = run.status.serial != cursor.seen or any(part.data for part in parts)
        return News(cursor.run_id, run.status, tuple(parts)) if is_new else None

    def _notify(self):
        with self.changed:
            self.changed.notify_all()

    def cancel(self, run_id, *, lineage=None, reason=Reason.CANCELED, wait_s=60.0):
        self._ask("cancel", run_id, reason)
        if not self.run(run_id).status.is_terminal:
            self.end(Status.CANCELED, run_id, reason=reason)
        return self.runs[run_id].status

    def files(self, run_id):
        self._ask("files", run_id)
        files = self.runs[run_id].files
        found = [RemoteFile(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items()]
        return Listing(tuple(found), self.skipped, len(self.skipped))

    def collected(self, run_id):
        self._ask("collected", run_id)

    def fetch(self, run_id: str, paths: Iterable) -> Iterator[FetchedFile]:
        self._ask("fetch", run_id, tuple(paths))
        for path in paths:
            data = self.runs[run_id].files[path]
            chunks = iter([data[at : at + 65536] for at in range(0, len(data), 65536)])
            yield FetchedFile(path, len(data), 0, chunks)

    def status(self, run_ids):
        self._ask("status")
        return {run_id: self.runs[run_id].status for run_id in run_ids if run_id in self.runs}

    def handle(self, started, lineage):
        run_id = started if isinstance(started, str) else started.run_id
        return Handle("fake", self.name, self._host_id, "/root", run_id, lineage, "1", 1)

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify_all()


class FakeSurroundings:
    """Settings under a folder of the test's own; no Airflow."""

    hosts_may_differ = False
    is_terminal = False

    def __init__(self, folder: Path, **settings) -> None:
        self.base_directory = folder
        self.settings = Settings(
            workspace=str(folder / "workspace"),
            cache_directory=str(folder / "cache"),
            local_root=str(folder / "root"),
            **{"poll_wait_seconds": 5.0, "cancel_grace_seconds": 2.0, **settings},
        )
        self.masked: list[str] = []
        self.connections: dict[str, ConnectionFields] = {}
        self.file_systems: dict[tuple[str, str], object] = {}

    def connection(self, connection_id: str) -> ConnectionFields:
        if connection_id not in self.connections:
            raise ConfigurationError(f"There is no connection {connection_id}")
        return self.connections[connection_id]

    def file_system(self, kind: str, connection_id: str):
        return self.file_systems[kind, connection_id]

    def secret(self, reference: str) -> str:
        self.masked.append("s3cret")
        return "s3cret"

    def mask(self, secret: str) -> None:
        self.masked.append(secret)


class Ears:
    """A reporter that remembers what it heard; ``heard`` waits for a line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self._changed = threading.Condition()

    def _hear(self, where: list[str], text: str) -> None:
        with self._changed:
            where.append(text)
            self._changed.notify_all()

    def line(self, text: str) -> None:
        self._hear(self.lines, text)

    def note(self, text: str) -> None:
        self._hear(self.notes, text)

    def warning(self, text: str) -> None:
        self._hear(self.warnings, text)

    def heard(self, text: str, timeout: float = 30.0) -> None:
        """Wait until a line, note or warning holds ``text``."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: any(text in line for line in [*self.lines, *self.notes, *self.warnings]), timeout
            ), f"{text!r} did not come; {self.lines=} {self.notes=} {self.warnings=}"
