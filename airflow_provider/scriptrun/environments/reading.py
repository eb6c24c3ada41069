"""Reading what an environment names: each kind of source becomes a recipe. The only module here that reads files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.config.names import EnvironmentKind
from airflow_provider.scriptrun.environments import conda_specification, curated, requirements_file
from airflow_provider.scriptrun.environments.recipe import Recipe
from airflow_provider.scriptrun.environments.requirements_file import Requirements
from airflow_provider.scriptrun.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider.scriptrun.config.environment import Environment
    from airflow_provider.scriptrun.config.python import PythonSection
    from airflow_provider.scriptrun.environments.credentials import Vault


def read_recipe(environment: Environment | None, base_directory: Path, vault: Vault) -> Recipe:
    """Return the recipe of ``environment``, its files read relative to ``base_directory``.

    With an image, it is the recipe of what comes on top of it. Raises ``ConfigurationError`` naming the file and line.
    """
    if environment is None:
        return Recipe("default")
    image = None
    kind = environment.kind
    if kind.is_docker:
        from airflow_provider.scriptrun.environments.image import read_image

        image, kind = read_image(environment.docker, base_directory, vault), environment.python.kind
    if kind is EnvironmentKind.CURATED:
        recipe = from_curated(environment.curated or "", vault)
    elif kind in (EnvironmentKind.PIP, EnvironmentKind.CONDA):
        recipe = from_packages(environment.python, base_directory, vault)
    else:
        recipe = _found(kind, environment.python)
    recipe.name, recipe.image = environment.name, image
    return recipe


def _found(kind: EnvironmentKind, python: PythonSection) -> Recipe:
    if kind is EnvironmentKind.USER_MANAGED:
        return Recipe("user_managed", interpreter=python.interpreter_path)
    if kind is EnvironmentKind.EXISTING_CONDA:
        return Recipe("existing_conda", conda={"environment": python.base_conda_environment})
    return Recipe("default")


def from_curated(name: str, vault: Vault) -> Recipe:
    """Return the recipe of an environment that comes with the provider."""
    requirements = Requirements()
    requirements_file.add(curated.get(name), Path(f"curated environment {name}"), requirements, vault)
    return Recipe("pip", requirements=requirements)


def from_packages(python: PythonSection, base_directory: Path, vault: Vault) -> Recipe:
    """Return the recipe of packages named in files, in a configuration, or both: ``pip`` if it needs no conda."""
    if python.conda_dependencies_file:
        origin = _path(base_directory, python.conda_dependencies_file)
        specification = conda_specification.read(origin)
    else:
        origin = base_directory / "environment.python.conda_dependencies"
        specification = conda_specification.parse(python.conda_dependencies.as_specification(), origin.name)
    requirements = Requirements()
    requirements_file.add(specification.pip, origin, requirements, vault)
    if python.requirements_file:
        requirements_file.read(_path(base_directory, python.requirements_file), requirements, vault)
    pip_version = f"=={python.pip_version}" if python.pip_version else specification.pip_version
    recipe = Recipe("pip", requirements=requirements, python=specification.python, variables=specification.variables)
    if specification.needs_conda:
        _check_for_conda(requirements, vault, origin)
        recipe.kind, recipe.python = "conda", None
        recipe.conda = {"channels": specification.channels, "packages": specification.packages}
    elif pip_version:
        requirements.lines.append(f"pip{pip_version}")
    return recipe


def _path(base_directory: Path, written: str) -> Path:
    return base_directory / Path(written).expanduser()


def _check_for_conda(requirements: Requirements, vault: Vault, origin: Path) -> None:
    """Refuse what conda's own call of pip could not be given: it takes lines, and no more."""
    indexes = {requirements.index_url, *requirements.extra_index_urls, *requirements.find_links}
    unheard = {
        "constraints (-c)": requirements.constraints,
        "--pre": requirements.pre,
        "--no-binary": requirements.no_binary,
        "--only-binary": requirements.only_binary,
        "--hash": requirements.require_hashes,
        "credentials in the address of a package": vault.urls.keys() - indexes,
    }
    named = [name for name, value in unheard.items() if value]
    if named:
        raise ConfigurationError(
            f"{origin}: requirements for pip beside packages of conda cannot hold {named[0]}.",
            advice="conda passes plain requirement lines to pip. Leave it out, or name no packages of conda.",
        )
