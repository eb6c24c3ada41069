"""What happened: workspaces, experiments, runs and run records. Imports nothing until a name is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider.scriptrun.runs.experiment import Experiment
    from airflow_provider.scriptrun.runs.run import Run
    from airflow_provider.scriptrun.runs.workspace import Workspace

__all__ = ["Experiment", "Run", "Workspace"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{name.lower()}"), name)
