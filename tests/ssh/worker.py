"""A worker as the tests of the SSH target need it: Airflow's home in a folder of its own, connections in variables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_provider.scriptrun import Experiment, Run, ScriptRunConfig, Workspace
from airflow_provider.scriptrun.errors import ScriptRunError
from airflow_provider.scriptrun.hooks.scriptrun import ScriptRunHook
from airflow_provider.scriptrun.hooks.surroundings import AirflowSurroundings
from airflow_provider.scriptrun.runs import surroundings
from airflow_provider.scriptrun.targets.contract import ComputeTarget
from airflow_provider.scriptrun.targets.registry import open_target
from tests.conformance.client import Client

NAME = "vm"


class Worker:
    """Everything that a task's process has.

    :param folder: where all that it keeps is: ``airflow/`` and ``source/``.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch
        monkeypatch.setenv("AIRFLOW_HOME", str(folder / "airflow"))
        monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{folder}/not_there.db")
        monkeypatch.setenv("HOME", str(folder))  # no ~/.ssh of whoever runs the tests
        monkeypatch.setattr(surroundings, "_in_use", AirflowSurroundings(folder))  # else they are an earlier test's

    def connect(self, document: Mapping[str, Any], name: str = NAME) -> str:
        """Make an Airflow connection and return its id."""
        self._monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(document))
        return name

    def check(self, document: Mapping[str, Any]) -> Any:
        """Do what the Test button does, and return what was found."""
        return ScriptRunHook(self.connect(document)).check()

    def refusal(self, document: Mapping[str, Any], kind: type[ScriptRunError]) -> str:
        """Return the message of the error that a check ends with, which must be of this very kind."""
        with pytest.raises(kind) as caught:
            self.check(document)
        assert type(caught.value) is kind, f"{type(caught.value)}: {caught.value}"
        return str(caught.value)

    def open(self, document: Mapping[str, Any], **options: Any) -> ComputeTarget:
        """Return the target, not contacted yet."""
        return open_target(self.connect(document), AirflowSurroundings(), **options)

    @contextmanager
    def client(self, document: Mapping[str, Any]) -> Iterator[Client]:
        """Open the target for a client that leaves no run behind."""
        with self.open(document) as target:
            client = Client(target)
            yield client
            client.cancel_all()

    def submit(
        self, files: Mapping[str, str | bytes], target: str = NAME, *, refresh_environment: bool = False, **config: Any
    ) -> Run:
        """Submit ``main.py`` of these files, as plain Python does."""
        source = self.folder / "source"
        source.mkdir(exist_ok=True)
        for name, content in files.items():
            path = source / name
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        configuration = ScriptRunConfig(str(source), "main.py", compute_target=target, **config)
        experiment = Experiment(Workspace.from_config(), "over-ssh")
        return experiment.submit(configuration, refresh_environment=refresh_environment)
