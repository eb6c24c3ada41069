"""From an :class:`Environment` to the document that the target carries out, and the secrets that travel beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from airflow_provider.scriptrun.config.environment import Environment
    from airflow_provider.scriptrun.environments.settings import EnvironmentSettings


@dataclass(frozen=True)
class EnvironmentPlan:
    """What the target needs to make an environment.

    :param document: plain JSON, no secrets, no paths of the worker: the request's ``environment``.
    :param secrets: name -> value: the request's ``secret_environment``; lives in memory only.
    """

    document: dict[str, Any]
    secrets: dict[str, str] = field(default_factory=dict, repr=False)


def plan(
    environment: Environment | None,
    *,
    base_directory: Path,
    settings: EnvironmentSettings,
    variables: Mapping[str, str] = os.environ,
) -> EnvironmentPlan:
    """Read the files that ``environment`` names (relative to ``base_directory``) and return its plan.

    ``None`` is the default environment: the target's own interpreter, nothing installed. ``${NAME}`` in a
    requirement file's URLs is looked up in ``variables`` and travels as a secret. Raises ``ConfigurationError``
    naming the file and line, ``NotSupportedError`` for what has no builder yet.
    """
    raise NotImplementedError
