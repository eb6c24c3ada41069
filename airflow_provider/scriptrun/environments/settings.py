"""Where packages come from, and for how long what was resolved stays good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: A requirement set that was resolved longer ago than this is resolved again.
DEFAULT_LOCK_MAX_AGE_S = 30 * 86_400.0


@dataclass(frozen=True)
class EnvironmentSettings:
    """The ``[scriptrun]`` options that concern environments. URLs may hold credentials: they go into a plan's secrets.

    :param index_url: the package index in place of the target's own default; ``None``: whatever uv or pip on the
        target is configured for.
    :param extra_index_urls: further indexes; uv's rule holds: a package is taken from the first index that has it,
        these first.
    :param ca_file: PEM file on the worker with the certificates to trust; its content travels with the plan.
    :param lock_max_age_s: seconds after which requirements are resolved again; 0: at every run; ``None``: never.
    :param refresh: resolve again now, whatever was kept.
    """

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    ca_file: Path | None = None
    lock_max_age_s: float | None = DEFAULT_LOCK_MAX_AGE_S
    refresh: bool = False
