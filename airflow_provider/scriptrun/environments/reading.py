"""Reading what an environment names: each kind of source becomes a recipe. The only module here that reads files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.environments import conda_specification, curated, requirements_file
from airflow_provider.scriptrun.environments.recipe import Recipe
from airflow_provider.scriptrun.environments.requirements_file import Requirements
from airflow_provider.scriptrun.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from airflow_provider.scriptrun.config.environment import Environment

    from airflow_provider.scriptrun.environments.credentials import Vault


def read_recipe(environment: Environment | None, base_directory: Path, vault: Vault) -> Recipe:
    """Return the recipe of ``environment``, its files read relative to ``base_directory``."""
    raise NotImplementedError


def from_requirements_file(path: Path, vault: Vault) -> Recipe:
    """Return the recipe of a requirements file. Raises ``ConfigurationError`` naming file and line."""
    requirements = Requirements()
    requirements_file.read(path, requirements, vault)
    return Recipe("pip", requirements=requirements)


def from_curated(name: str, vault: Vault, origin: Path) -> Recipe:
    """Return the recipe of an environment that comes with the provider."""
    requirements = Requirements()
    requirements_file.add(curated.get(name), origin, requirements, vault)
    return Recipe("pip", requirements=requirements)


def from_conda_specification(path: Path, vault: Vault) -> Recipe:
    """Return the recipe of a conda specification file: of kind ``pip`` if it needs no conda."""
    return _from_conda(conda_specification.read(path), path, vault)


def from_conda_content(content: Any, origin: Path, vault: Vault) -> Recipe:
    """Return the recipe of a conda specification's content; files that its pip section names lie beside ``origin``."""
    return _from_conda(conda_specification.parse(content, str(origin)), origin, vault)


def _from_conda(specification: conda_specification.CondaSpecification, origin: Path, vault: Vault) -> Recipe:
    requirements = Requirements()
    lines: Sequence[str] = specification.pip
    requirements_file.add(list(lines), origin, requirements, vault)
    recipe = Recipe("pip", requirements=requirements, python=specification.python, variables=specification.variables)
    if specification.needs_conda:
        _check_for_conda(requirements, vault, origin)
        recipe.kind, recipe.python = "conda", None
        recipe.conda = {"channels": specification.channels, "packages": specification.packages}
    elif specification.pip_version:
        requirements.lines.append(f"pip{specification.pip_version}")
    return recipe


def _check_for_conda(requirements: Requirements, vault: Vault, origin: Path) -> None:
    """Refuse what conda's own call of pip could not be given: it takes lines, and no more."""
    unheard = {
        "constraints (-c)": requirements.constraints,
        "--pre": requirements.pre,
        "--no-binary": requirements.no_binary,
        "--only-binary": requirements.only_binary,
        "--require-hashes": requirements.require_hashes,
        "credentials in the address of a package": vault.urls.keys()
        - {requirements.index_url}
        - {*requirements.extra_index_urls},
    }
    named = [name for name, value in unheard.items() if value]
    if named:
        raise ConfigurationError(
            f"{origin}: the pip section of a specification that needs conda cannot hold {named[0]}.",
            advice="conda passes plain requirement lines to pip. Use a specification of only python and pip.",
        )
