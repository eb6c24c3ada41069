"""Keep a table of all trained models: runs whenever a training has finished, and reads which one it was.

The events come from the task `train` of `scheduled_training`, and of any other DAG with the same outlet.
"""

from __future__ import annotations

import csv

from airflow.sdk import AssetAlias, dag, task
from readings import STATE

TABLE = STATE / "leaderboard.csv"


@dag(schedule=[AssetAlias("models/sensors")], catchup=False, tags=["scriptrun", "example"], doc_md=__doc__)
def leaderboard():
    """The DAG; its name is its id."""

    @task
    def enter(triggering_asset_events=None) -> list[list[str]]:
        """Add a row for each training since the last time, and print the table with the best one first."""
        rows = {row[0]: row for row in csv.reader(TABLE.read_text().splitlines())} if TABLE.exists() else {}
        for events in triggering_asset_events.values():
            for event in events:
                run_id, rmse = event.extra["run_id"], event.extra["metrics"]["rmse"]
                rows[run_id] = [run_id, f"{rmse:.4f}", event.extra["outputs"]]
        table = sorted(rows.values(), key=lambda row: float(row[1]))
        with TABLE.open("w", newline="") as file:
            csv.writer(file).writerows(table)
        for row in table:
            print(*row, sep="  ")
        return table

    enter()


leaderboard()
