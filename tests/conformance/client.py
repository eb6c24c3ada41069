"""What a worker does with a target, in few words: start a script, follow it, wait for what it says."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.targets.contract import (
    ComputeTarget,
    Cursor,
    Limits,
    News,
    Outcome,
    RunStatus,
    StagedInput,
    Started,
    StartRequest,
    Stream,
)
from tests.conformance.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: No promise of the suite needs longer, on a busy machine; a test that waits so long has failed.
PATIENCE_S = 60.0
#: What a cancelled script has until SIGKILL: short, as most ignore nothing.
GRACE_S = 5.0
DEFAULT_ENVIRONMENT: dict[str, Any] = {
    "schema": 1,
    "kind": "default",
    "interpreter": None,
    "python": None,
    "requirements": [],
    "constraints": [],
    "options": {"pre": False, "require_hashes": False, "no_binary": [], "only_binary": []},
    "index": {"url": None, "extra": [], "find_links": [], "no_index": False},
    "conda": None,
    "delivery": {
        "name": None,
        "variables": {},
        "lock_max_age_s": 86_400.0,
        "refresh": False,
        "ca": None,
        "trusted_hosts": [],
        "credentials": {},
        "git_credentials": {},
    },
}


def user_managed(interpreter: str) -> dict[str, Any]:
    """Return the plan of an interpreter that is there."""
    return {**DEFAULT_ENVIRONMENT, "kind": "user_managed", "interpreter": interpreter}


def from_pip(*requirements: str) -> dict[str, Any]:
    """Return the plan of an environment with these packages."""
    return {**DEFAULT_ENVIRONMENT, "kind": "pip", "requirements": list(requirements)}


@dataclass
class Followed:
    """A run, as far as it was followed."""

    run_id: str
    status: RunStatus | None = None
    streams: dict[Stream, bytearray] = field(default_factory=lambda: {stream: bytearray() for stream in Stream})

    @property
    def log(self) -> bytes:
        return bytes(self.streams[Stream.RUN_LOG])

    @property
    def build(self) -> bytes:
        return bytes(self.streams[Stream.BUILD_LOG])

    @property
    def messages(self) -> bytes:
        return bytes(self.streams[Stream.MESSAGES])

    @property
    def end(self) -> RunStatus:
        assert self.status is not None
        assert self.status.is_terminal, f"{self.status}\n{self.build.decode('utf-8', 'replace')}"
        return self.status


class Client:
    """A worker."""

    def __init__(self, target: ComputeTarget) -> None:
        self.target = target
        self.run_ids: list[str] = []
        self._inputs: dict[str, Tree] = {}

    def request(
        self,
        script: str | None = None,
        *,
        files: Mapping[str, Any] | None = None,
        argv: Iterable[str] = ("python", "main.py"),
        limits: Limits | None = None,
        inputs: Mapping[str, Tree] | None = None,
        **changes: Any,
    ) -> tuple[StartRequest, Tree]:
        """Return the request of a run, and the files that it needs."""
        tree = Tree({**({} if script is None else {"main.py": script}), **(files or {})})
        inputs = inputs or {}
        self._inputs.update({data.id: data for data in inputs.values()})
        values: dict[str, Any] = {
            "run_id": f"conformance_{uuid.uuid4().hex}",
            "lineage": str(uuid.uuid4()),
            "experiment": "conformance",
            "argv": tuple(argv),
            "snapshot_id": tree.id,
            "inputs": {name: StagedInput(data.id, data.is_file) for name, data in inputs.items()},
            "environment": DEFAULT_ENVIRONMENT,
            "limits": limits or Limits(grace_s=GRACE_S),
            **changes,
        }
        return StartRequest(**values), tree

    def start(self, script: str | None = None, **values: Any) -> Started:
        """Start a run, and send what is missing for it."""
        return self.submit(*self.request(script, **values))

    def submit(self, request: StartRequest, tree: Tree) -> Started:
        """Start a run, and send what is missing for it."""
        self.run_ids.append(request.run_id)
        started = self.target.start(request)
        if started.outcome is Outcome.MISSING:
            for snapshot_id in started.missing:
                self.target.send(tree if snapshot_id == tree.id else self._inputs[snapshot_id])
            started = self.target.start(request)
        self.run_ids.append(started.run_id)
        return started

    def finish(self, script: str | None = None, **values: Any) -> Followed:
        """Start a run and follow it to its end."""
        started = self.start(script, **values)
        assert started.outcome is Outcome.ACCEPTED
        return self.follow(started.run_id)

    def follow(
        self, run_id: str, *, until: Callable[[Followed], bool] | None = None, max_bytes: int = 4 * 1024 * 1024
    ) -> Followed:
        """Follow a run from its beginning to its end, or ``until`` something is seen of it."""
        followed, cursor = Followed(run_id), Cursor(run_id)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for news in self.target.poll([cursor], wait_s=5, max_bytes=max_bytes):
                self._take(followed, cursor, news)
                cursor = cursor.after(news)
                if news.is_last or (until is not None and until(followed)):
                    return followed
        raise AssertionError(f"waited too long: {followed.status}, {followed.log[-2000:]!r} {followed.build[-2000:]!r}")

    def wait_for(self, run_id: str, text: str) -> Followed:
        """Follow a run until it has said something."""
        followed = self.follow(run_id, until=lambda followed: text.encode() in followed.log)
        assert text.encode() in followed.log, f"{followed.status} {followed.log!r} {followed.build!r}"
        return followed

    def cancel_all(self) -> None:
        """Leave nothing behind."""
        for run_id in dict.fromkeys(self.run_ids):
            self.target.cancel(run_id, wait_s=PATIENCE_S)

    @staticmethod
    def _take(followed: Followed, cursor: Cursor, news: News) -> None:
        if news.error is not None:
            raise news.error
        followed.status = news.status or followed.status
        for part in news.parts:
            assert part.offset == cursor.offsets[part.stream]
            followed.streams[part.stream] += part.data
