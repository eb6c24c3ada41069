"""What is kept of a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from airflow_provider.scriptrun.config.element import Element
from airflow_provider.scriptrun.config.values import Flag, holding, listing, path

#: The folder that is followed while the script runs, unless others are named.
DEFAULT_DIRECTORIES = ("logs",)


class HistoryConfiguration(Element):
    """What is kept of a run.

    :param output_collection: bring ``outputs/`` and ``logs/`` back to the workspace.
    :param snapshot_project: keep the source directory's snapshot in the workspace.
    :param directories_to_watch: folders whose files are followed while the script runs.
    """

    output_collection: Flag = True
    snapshot_project: Flag = True
    directories_to_watch: Annotated[list[str], holding(listing(path(example="logs"), example="['logs']"))] = Field(
        default_factory=lambda: list(DEFAULT_DIRECTORIES)
    )
