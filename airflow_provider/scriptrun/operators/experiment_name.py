"""What an experiment may be called: Azure ML's rule, and a DAG's id made to follow it."""

from __future__ import annotations

import re
from typing import Any

from airflow_provider.scriptrun.errors import ConfigurationError

MAX_LENGTH = 255
_NAME = re.compile(rf"[a-zA-Z0-9][a-zA-Z0-9_-]{{0,{MAX_LENGTH - 1}}}")


def experiment_name(dag_id: str) -> str:
    """Return a DAG's id as an experiment may be called."""
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", dag_id).lstrip("_-")[:MAX_LENGTH]
    return name or "dag"


def refuse_experiment_name(name: Any) -> None:
    """Raise :class:`ConfigurationError` for what an experiment cannot be called."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"experiment is {name!r:.100}, which no experiment can be called",
            advice=f"Write a letter or digit, then letters, digits, _ and -: {experiment_name(str(name))!r}.",
        )
