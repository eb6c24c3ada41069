"""Where packages become images: a workspace, an engine by a connection, and an environment of one package."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import docker

from airflow_provider.scriptrun import CondaDependencies, Environment, Experiment, ScriptRunConfig, Workspace
from airflow_provider.scriptrun.runs.run import Run
from tests.docker.leaks import LABEL


class Site:
    """A workspace, and an engine by a connection."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "code").mkdir()
        self.experiment = Experiment(Workspace(str(folder / "workspace")), "builds")

    def submit(
        self,
        environment: Environment,
        script: str = "print('ran')",
        run_id: str | None = None,
        *,
        refresh: bool = False,
        **fields: Any,
    ) -> Run:
        """Submit a script in an environment, which may be resolved again whatever the target has kept."""
        (self._folder / "code" / "main.py").write_text(script)
        config = ScriptRunConfig(
            self._folder / "code", script="main.py", environment=environment, compute_target="engine", **fields
        )
        return self.experiment.submit(config, refresh_environment=refresh, **({"run_id": run_id} if run_id else {}))

    def status_of(self, run_id: str) -> str:
        """Return what somebody else is told of a run."""
        with contextlib.closing(self.experiment.get_run(run_id)) as run:
            return run.get_status()

    def wait_for(self, run_id: str) -> dict[str, Any]:
        """Wait for its end as somebody else, and return its details."""
        with contextlib.closing(self.experiment.get_run(run_id)) as run:
            return run.wait_for_completion(raise_on_error=False)

    def record(self, *arguments: Any, **fields: Any) -> dict[str, Any]:
        """Submit a script, and return the record of its run."""
        run = self.submit(*arguments, **fields)
        run.wait_for_completion(raise_on_error=False)
        assert run.record is not None
        return run.record


def alpha() -> Environment:
    environment = Environment("alpha")
    environment.python.conda_dependencies = CondaDependencies.create(pip_packages=["alpha"])
    return environment


def images_of(client: docker.DockerClient, store: str) -> list[str]:
    labels = [f"{LABEL}={store}", "scriptrun.kind=environment"]
    return [tag for image in client.images.list(filters={"label": labels}) for tag in image.tags]
