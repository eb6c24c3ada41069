"""What an experiment and a run may be called."""

from __future__ import annotations

import re
import secrets
import time

from airflow_provider.scriptrun.errors import ConfigurationError

#: Azure ML's rule.
EXPERIMENT_NAME = re.compile(r"[a-zA-Z0-9][\w-]{0,254}", re.ASCII)
#: What a target and a file system take as a name.
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
#: So much of an experiment's name stands in the run ids that are made here.
EXPERIMENT_PART_LENGTH = 100


def new_run_id(experiment: str) -> str:
    """Return a run id as Azure ML makes them: ``<experiment>_<epoch seconds>_<8 hex>``."""
    return f"{experiment[:EXPERIMENT_PART_LENGTH]}_{int(time.time())}_{secrets.token_hex(4)}"


def check_experiment_name(name: str) -> str:
    """Return the name. Raises :class:`ConfigurationError` for what is no experiment's name."""
    if not isinstance(name, str) or not EXPERIMENT_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r:.300} is no name of an experiment",
            advice="Write a letter or digit, then at most 254 letters, digits, _ and -",
        )
    return name


def check_run_id(run_id: str) -> str:
    """Return the run id. Raises :class:`ConfigurationError` for what is no run id."""
    if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        raise ConfigurationError(
            f"{run_id!r:.300} is no run id", advice="Write a letter or digit, then at most 127 letters, digits, _ and -"
        )
    return run_id
