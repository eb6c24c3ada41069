"""Fields of an Airflow connection, read strictly: what is wrong or unknown is refused by its name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider.scriptrun.targets.surroundings import ConnectionLike


def refuse_unknown(connection: ConnectionLike, known: tuple[str, ...]) -> None:
    """Refuse an extra that is none of the ``known``, with the closest of them."""
    from difflib import get_close_matches

    for name in connection.extra:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            raise ConfigurationError(
                f"The connection {connection.id}: {name!r:.100} is no field of a {connection.type} connection",
                advice=(f"Did you mean {close[0]}? " if close else "") + f"There are {', '.join(known)}.",
            )


def text(connection: ConnectionLike, field: str) -> str | None:
    """Return a text of the extras; ``None``: it is empty or not there."""
    value = connection.extra.get(field)
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"The connection {connection.id}: {field} must be a text, not {value!r:.100}")
    return value or None


def max_runs(connection: ConnectionLike) -> int | None:
    """Return how many runs may execute at once; ``None``: no limit."""
    value = connection.extra.get("max_runs")
    if isinstance(value, str) and value.strip().isdigit():  # a form may send it as a text
        value = int(value)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise ConfigurationError(
            f"The connection {connection.id}: max_runs must be a number from 0, not {value!r:.100}"
        )
    return value or None


def texts(connection: ConnectionLike, field: str, example: str) -> dict[str, str]:
    """Return texts by name: a JSON object, or its text, as a form may send it.

    :param example: a good value, for messages.
    """
    value = connection.extra.get(field) or {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, Mapping) or not all(isinstance(part, str) for item in value.items() for part in item):
        raise ConfigurationError(
            f"The connection {connection.id}: {field} must be a JSON object of texts",
            advice=f"Write for instance {example}",
        )
    return dict(value)


def variables(connection: ConnectionLike) -> dict[str, str]:
    """Return the environment variables for every script of the target."""
    return texts(connection, "environment_variables", '{"OMP_NUM_THREADS": "4"}')
