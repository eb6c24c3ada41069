"""What a person reads in the task log: the script's own lines, and notes of ours between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk.types import Logger


class TaskLog:
    """Implements :class:`~airflow_provider.scriptrun.runs.reporter.Reporter` on the task's logger.

    ``line`` is the logger's own method: a training script may write thousands of lines a second, and Airflow's own
    share of each is all that may be paid for it.
    """

    def __init__(self, logger: Logger) -> None:
        self.line: Callable[[str], None] = logger.info
        self.note = self.line
        self.warning: Callable[[str], None] = logger.warning
