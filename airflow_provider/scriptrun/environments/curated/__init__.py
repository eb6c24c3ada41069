"""Environments that come with the provider: a name, and requirements that go together on every Python we know of.

Each is a requirements file beside this module. Upper bounds are the next major version: what a reader of a year from
now gets still runs the scripts of today. They name no index: packages come from wherever the settings say.
"""

from __future__ import annotations

from importlib import resources

from airflow_provider.scriptrun.environments.suggestion import suggestion
from airflow_provider.scriptrun.errors import ConfigurationError

_SUFFIX = ".txt"


def names() -> list[str]:
    """Return the names that :func:`get` knows, sorted."""
    files = resources.files(__package__).iterdir()
    return sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX))


def get(name: str) -> list[str]:
    """Return the requirement lines of the curated environment ``name``. Raises ``ConfigurationError``."""
    known = names()
    if name not in known:
        raise ConfigurationError(
            f"There is no curated environment {name!r}.", advice=suggestion(name, known, "There are")
        )
    text = resources.files(__package__).joinpath(name + _SUFFIX).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
