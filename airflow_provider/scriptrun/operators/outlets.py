"""What a finished training tells Airflow's assets: which run, with which metrics, and where its outputs are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.definitions.asset import AssetRef

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

#: A model with more metrics than this has them in its run record.
MAX_METRICS = 100


def tell(context: Context, record: Mapping[str, Any], *, experiment_uri: str) -> None:
    """Give each asset that the task declares an event with the run's id, metrics and outputs as its ``extra``.

    An alias gets an asset of its name, which stands for the experiment: a DAG that is scheduled on the alias runs after
    each training, and finds in the event which one it was.

    :param experiment_uri: of the experiment's folder in the workspace.
    """
    extra = {
        "run_id": record["run_id"],
        "experiment": record["experiment"],
        "metrics": dict(list(record["metrics"].items())[:MAX_METRICS]),
        "outputs": record["outputs"]["uri"],
        "snapshot": record["snapshot"]["id"],
    }
    events = context["outlet_events"]
    for outlet in context["ti"].task.outlets:
        if isinstance(outlet, AssetAlias):
            uri = experiment_uri if "://" in experiment_uri else f"file://{experiment_uri}"
            events[outlet].add(Asset(name=outlet.name, uri=uri), extra=extra)
        elif isinstance(outlet, (Asset, AssetRef)):
            events[outlet].extra.update(extra)
