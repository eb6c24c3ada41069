"""What Airflow knows of a task that a run has to know: which try, of what, from which DAG file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.runs.lineage import Attempt
from airflow_provider.scriptrun.snapshot.git import Bundle

if TYPE_CHECKING:
    from airflow.sdk import Context


def attempt(context: Context) -> Attempt:
    """Return which try asks, and how often it was cleared: what tells a retry from a clear."""
    ti = context["ti"]
    clear_number = getattr(context.get("dag_run"), "clear_number", None)
    return Attempt(try_number=ti.try_number, max_tries=ti.max_tries, clear_number=clear_number or 0)


def seed(context: Context) -> str | None:
    """Return what names this task of this DAG run, and of no other one that is called the same.

    A DAG run that was deleted and made again, or one of another deployment, began at another microsecond. ``None``
    where Airflow does not say when it began.
    """
    ti, began = context["ti"], getattr(context.get("dag_run"), "start_date", None)
    if began is None:
        return None
    return json.dumps([ti.dag_id, ti.run_id, ti.task_id, -1 if ti.map_index is None else ti.map_index, str(began)])


def dag_folder(context: Context) -> Path:
    """Return the folder of the DAG file on this worker: what relative paths of a configuration are relative to."""
    return Path(context["dag"].fileloc).absolute().parent


def bundle(context: Context) -> Bundle | None:
    """Return the DAG bundle that the task came from; ``None`` where Airflow names none (``dag.test()``).

    Airflow's ``GitDagBundle`` says as ``repo_url`` what it was cloned from, its connection's address included, and as
    ``repo_path`` where the whole repository is. Its ``view_url_template`` leads to a tree, on three public hosts only.
    """
    instance = getattr(context["ti"], "bundle_instance", None)
    if instance is None:
        return None
    return Bundle(
        name=instance.name,
        version=instance.version,
        repository=getattr(instance, "repo_url", None),
        folder=getattr(instance, "repo_path", None) or instance.path,
    )


def record_part(context: Context) -> dict[str, Any]:
    """Return the ``airflow`` part of the run record."""
    ti, origin = context["ti"], bundle(context)
    return {
        "dag_id": ti.dag_id,
        "run_id": ti.run_id,
        "task_id": ti.task_id,
        "map_index": -1 if ti.map_index is None else ti.map_index,
        "try_number": ti.try_number,
        "bundle_name": origin.name if origin else None,
        "bundle_version": origin.version if origin else None,
    }
