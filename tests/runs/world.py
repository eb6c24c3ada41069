"""What a submission needs around it, with fake targets."""

from __future__ import annotations

import json
import time
from dataclasses import replace

from airflow_provider.scriptrun.config import ScriptRunConfig
from airflow_provider.scriptrun.errors import (
    OtherHostError,
)
from airflow_provider.scriptrun.runs import lease, reach
from airflow_provider.scriptrun.runs.lineage import LINEAGE
from airflow_provider.scriptrun.runs.submission import submit
from airflow_provider.scriptrun.runs.workspace import Workspace
from airflow_provider.scriptrun.targets import registry
from tests.runs.fakes import Ears, FakeSurroundings, FakeTarget


class State(dict):
    """A lineage store in memory, as a task's would be."""

    def set(self, name, value):
        self[name] = json.loads(json.dumps(value))


class World:
    """One fake target per connection, a source directory, and a way to submit."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.surroundings = FakeSurroundings(folder)
        self.workspace = Workspace.from_config(self.surroundings)
        self.targets = {"fake": FakeTarget("fake"), "other": FakeTarget("other", host_id="machine-2")}
        self.opened: list[tuple] = []
        self.ears = Ears()
        self.state = State()
        (folder / "source").mkdir()
        (folder / "source" / "train.py").write_text("print('hello')\n")
        monkeypatch.setattr(registry, "open_target", self._open)
        monkeypatch.setattr(registry, "open_handle", lambda handle, _s: self._open(handle.connection, _s))
        monkeypatch.setattr(reach, "FIRST_PAUSE_SECONDS", 0.01)
        monkeypatch.setattr(reach, "LONGEST_PAUSE_SECONDS", 0.02)

    @property
    def target(self) -> FakeTarget:
        return self.targets["fake"]

    def _open(self, name, _surroundings, host_id=None, in_container=False):
        del in_container  # its targets are what they are
        self.opened.append((name, host_id))
        target = self.targets[name]
        target.closed = False
        if host_id and host_id != target._host_id:
            target.trouble.append(OtherHostError("another host", why="its id is another"))
        return target

    def gives_up_after(self, seconds):
        self.surroundings.settings = replace(self.surroundings.settings, unreachable_after_seconds=seconds)

    def is_over_in(self, seconds):
        """Let the stored run have ended itself surely in so many seconds."""
        stored = self.state[LINEAGE]
        takes = lease.over_at(0.0, orphan_after_s=stored["orphan_after_s"], grace_s=stored["grace_s"])
        self.over_at = time.time() + seconds
        stored["watched_at"] = self.over_at - takes

    def submit(self, *, run_id=None, attempt=None, tags=None, should_stop=None, seed=None, refresh=False, **fields):
        fields = {"source_directory": "source", "script": "train.py", "compute_target": "fake", **fields}
        return submit(
            ScriptRunConfig(**fields), workspace=self.workspace, experiment="churn", reporter=self.ears,
            lineage=None if run_id else self.state, surroundings=self.surroundings, run_id=run_id, attempt=attempt,
            tags=tags, should_stop=should_stop, airflow={"dag_id": "d"}, seed=seed, refresh_environment=refresh,
        )  # fmt: skip

    def calls(self, *verbs) -> list[str]:
        return [call[0] for call in self.target.calls if not verbs or call[0] in verbs]
