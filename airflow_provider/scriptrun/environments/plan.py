"""From an :class:`Environment` to the document that the target carries out, and the secrets that travel beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.environments import recipe as recipes
from airflow_provider.scriptrun.environments.credentials import Vault, spellings
from airflow_provider.scriptrun.environments.reading import read_recipe
from airflow_provider.scriptrun.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from airflow_provider.scriptrun.config.environment import Environment
    from airflow_provider.scriptrun.environments.requirements_file import Requirements
    from airflow_provider.scriptrun.environments.settings import EnvironmentSettings

#: A system's whole list of authorities is about 250 KB.
MAX_CA_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True)
class EnvironmentPlan:
    """What the target needs to make an environment.

    :param document: plain JSON, no secrets, no paths of the worker: the request's ``environment``; its form stands in
        ``recipe.py``.
    :param secrets: name -> value: the request's ``secret_environment``; lives in memory only.
    """

    document: dict[str, Any]
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def confidential(self) -> tuple[str, ...]:
        """Every text that no log may show."""
        return spellings(self.secrets.values())


def plan(
    environment: Environment | None,
    *,
    base_directory: Path,
    settings: EnvironmentSettings,
    variables: Mapping[str, str] = os.environ,
    secret: Callable[[str], str] | None = None,
) -> EnvironmentPlan:
    """Read the files that ``environment`` names (relative to ``base_directory``) and return its plan.

    ``None`` is the default environment: the target's own interpreter, nothing installed. ``${NAME}`` in a
    requirement file's URLs is looked up in ``variables`` and travels as a secret, and so does what ``secret`` returns
    for a registry's password. Raises ``ConfigurationError`` naming the file and line.
    """
    vault = Vault(variables, secret)
    recipe = read_recipe(environment, base_directory, vault)
    certificates = None
    if recipe.kind in ("pip", "conda"):
        _add_settings(recipe.requirements, settings, vault)
        certificates = _certificates(settings.ca_file)
    delivery = recipes.Delivery(
        lock_max_age_s=settings.lock_max_age_s,
        refresh=settings.refresh,
        ca=certificates,
        credentials=vault.urls,
        git_credentials=vault.repositories,
    )
    return EnvironmentPlan(recipes.document(recipe, delivery), vault.secrets)


def _add_settings(requirements: Requirements, settings: EnvironmentSettings, vault: Vault) -> None:
    """Put the settings' indexes behind those that the requirement files name: what is nearer to the script wins."""
    try:
        if settings.index_url and not requirements.index_url and not requirements.no_index:
            requirements.index_url = vault.take(settings.index_url)
        for url in settings.extra_index_urls:
            clean = vault.take(url)
            if clean not in requirements.extra_index_urls:
                requirements.extra_index_urls.append(clean)
    except KeyError as error:
        raise ConfigurationError(
            f"An index address in [scriptrun] names the variable {error.args[0]}, which is not set."
        ) from None


def _certificates(ca_file: Path | None) -> str | None:
    if ca_file is None:
        return None
    try:
        if ca_file.stat().st_size > MAX_CA_BYTES:
            raise ConfigurationError(f"The ca_file {ca_file} is larger than any list of authorities.")
        text = ca_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The ca_file {ca_file} cannot be read: {error}.") from error
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise ConfigurationError(f"The ca_file {ca_file} holds no certificate in PEM form.")
    return text
