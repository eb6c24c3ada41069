"""From a configuration to a run on its target: the one call that the operator and plain Python share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider.scriptrun.config import ScriptRunConfig

    from airflow_provider.scriptrun.runs.lineage import Attempt, LineageStore
    from airflow_provider.scriptrun.runs.reporter import Reporter
    from airflow_provider.scriptrun.runs.run import Run
    from airflow_provider.scriptrun.runs.surroundings import Surroundings
    from airflow_provider.scriptrun.runs.workspace import Workspace


def submit(
    config: ScriptRunConfig,
    *,
    workspace: Workspace,
    experiment: str,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    lineage: LineageStore | None = None,
    attempt: Attempt | None = None,
    airflow: Mapping[str, Any] | None = None,
    bundle: Any | None = None,
    reporter: Reporter | None = None,
    surroundings: Surroundings | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Run:
    """Take the snapshot, keep it, and start the run on its target, or join the one that this lineage already has.

    :param config: with every template rendered.
    :param run_id: an id of the caller's; submitted twice it is the same run. Default: ``<experiment>_<seconds>_<8 hex>``.
    :param lineage: where the lineage is kept; default: an object in the workspace, under the run id.
    :param attempt: which try of a task asks.
    :param airflow: the ``airflow`` part of the run record.
    :param bundle: ``snapshot.git.Bundle``, that stands in when there is no Git.
    :param should_stop: asked between the steps and at least every second while waiting for a target that cannot be reached.
    :raises ConfigurationError: the configuration cannot run, or not on this target.
    :raises SnapshotError: the source directory cannot be captured.
    :raises WorkspaceError: the snapshot cannot be kept.
    :raises TargetError: the target refuses, or is another host than the one that this lineage has a run on.
    :raises RunSupersededError: a newer try has taken over.
    :raises RunCanceledError: the run was cancelled before it started.
    """
    raise NotImplementedError
