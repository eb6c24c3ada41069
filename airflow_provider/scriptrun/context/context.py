"""The run a script belongs to. Standard library only, and one file: copy it beside a script where the package is not.

    from airflow_provider.scriptrun import Run          # or: from context import get_context
    run = Run.get_context()
    run.log("rmse", 0.31, step=3)

Outside a run every method is there and does nothing, so that a script runs by hand as it is.
"""

from __future__ import annotations

import json
import math
import os
import time
from typing import Any

#: A message of at most so many bytes is written by one write(2) on O_APPEND: lines of several processes do not mix.
MAX_MESSAGE_BYTES = 64 * 1024


class RunContext:
    """The running run: its ids and folders, and where metrics and tags go.

    The methods take Azure ML's ``description`` so that its scripts run as they are; it is not kept.
    """

    def __init__(self, variables: dict[str, str] | None = None) -> None:
        env = os.environ if variables is None else variables
        self.id = env["SCRIPTRUN_RUN_ID"]
        self.experiment = env.get("SCRIPTRUN_EXPERIMENT", "")
        self.outputs = env.get("SCRIPTRUN_OUTPUTS", "outputs")  #: a folder; what is in it comes back
        self.checkpoints = env.get("SCRIPTRUN_CHECKPOINTS")  #: a folder that the next try of this task finds again
        self._context = env.get("SCRIPTRUN_CONTEXT")
        self._messages: str | None = env.get("SCRIPTRUN_MESSAGES")
        self._descriptor: int | None = None

    def log(self, name: str, value: Any, description: str | None = None, step: int | None = None) -> None:  # noqa: ARG002
        """Log one value of a metric; logged again, the metric becomes a series."""
        if isinstance(value, (list, tuple, range, dict, set)):
            raise TypeError(f"metric {name!r}: a {type(value).__name__} is logged with log_list, log_row or log_table")
        self._send({"metric": _name(name), "value": _plain(value), "step": step})

    def log_list(self, name: str, value: Any, description: str | None = None) -> None:  # noqa: ARG002
        """Log a list of values as one value of a metric."""
        self._send({"metric": _name(name), "value": [_plain(item) for item in value]})

    def log_row(self, name: str, description: str | None = None, **columns: Any) -> None:  # noqa: ARG002
        """Log one row of a table of named columns."""
        self._send({"metric": _name(name), "value": {key: _plain(item) for key, item in columns.items()}})

    def log_table(self, name: str, value: Any, description: str | None = None) -> None:  # noqa: ARG002
        """Log a table, a mapping of column names to lists of one length, as its rows."""
        lengths = {len(column) for column in value.values()}
        if len(lengths) > 1:
            raise ValueError(f"metric {name!r}: the columns of a table have one length, these have {sorted(lengths)}")
        for row in range(next(iter(lengths), 0)):
            self.log_row(name, **{key: column[row] for key, column in value.items()})

    def tag(self, key: str, value: Any = None) -> None:
        """Set a tag of the run."""
        self._send({"tag": _name(key), "value": "" if value is None else str(value)})

    def get_details(self) -> dict[str, Any]:
        """Return what the run was submitted with: its ids, snapshot and tags."""
        if not self._context:
            return {}
        with open(self._context, encoding="utf-8") as file:  # noqa: PTH123 - one file, few imports
            details: dict[str, Any] = json.load(file)
            return details

    def flush(self) -> None:
        """Do nothing: every message is handed over when it is logged."""

    def _send(self, message: dict[str, Any]) -> None:
        if not self._messages:
            return
        message = {key: value for key, value in message.items() if key == "value" or value is not None}
        message["time"] = round(time.time(), 3)
        line = (json.dumps(message, separators=(",", ":")) + "\n").encode("ascii")
        if len(line) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {len(line)} bytes is longer than the {MAX_MESSAGE_BYTES} allowed")
        if self._descriptor is None:
            self._descriptor = os.open(self._messages, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.write(self._descriptor, line)


class NoRun(RunContext):
    """Stands for the run where there is none: it has the same methods with the same checks, and writes nothing."""

    def __init__(self) -> None:
        super().__init__({"SCRIPTRUN_RUN_ID": "OfflineRun"})


def get_context() -> RunContext:
    """Return the run that this process belongs to, or an object that does nothing where there is none."""
    return RunContext() if os.environ.get("SCRIPTRUN_RUN_ID") else NoRun()


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise TypeError(f"the name of a metric or tag is a text that is not empty, not {name!r}")
    return name


def _plain(value: Any) -> Any:
    """Return a number, text, truth value or None; NumPy's and PyTorch's scalars by their ``item()``."""
    if not isinstance(value, (bool, int, float, str, type(None))) and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    raise TypeError(f"a metric's value is a number, a text, a truth value or None, not a {type(value).__name__}")
