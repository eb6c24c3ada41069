"""What a task remembers from one try to the next: values in Airflow's task state store.

The rows belong to one task of one DAG run, survive retries and clears, die with the DAG run, and are refused from a
process that Airflow has given up: so a re-made DAG run, or another deployment, never adopts a foreign run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from airflow_provider.scriptrun.runs.lineage import CURSOR

if TYPE_CHECKING:
    from airflow.sdk import Context

log = structlog.get_logger(__name__)

#: What our keys begin with: the store is the task's, and a person's own callbacks may use it too.
PREFIX = "scriptrun."


class TaskState:
    """Implements :class:`~airflow_provider.scriptrun.runs.lineage.LineageStore` on the task state store.

    Never expires by age: to forget the lineage of a task that is still there would start a second run beside the first.
    How far the log was shown is a convenience: that it cannot be stored, while the API server is away, ends no task.
    """

    def __init__(self, context: Context) -> None:
        self._store = context["task_state_store"]

    def get(self, name: str) -> Any:
        """Return the value, or ``None``. Raises ``AirflowRuntimeError`` when the API server cannot say."""
        return self._store.get(PREFIX + name)

    def set(self, name: str, value: Any) -> None:
        """Store the value. Raises ``AirflowRuntimeError`` when it is refused: the caller must not go on then."""
        try:
            self._store.set(PREFIX + name, value, retention=NEVER_EXPIRE)
        except Exception as error:
            if name != CURSOR:
                raise
            log.debug("How far the log was shown could not be stored.", error=str(error))
