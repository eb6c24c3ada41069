"""Spark: what a session needs, and how an application is submitted."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from airflow_provider.scriptrun.config.element import Element
from airflow_provider.scriptrun.config.names import YarnDeployMode
from airflow_provider.scriptrun.config.values import Flag, argument, holding, listing, mapping, name_of, text
from airflow_provider.scriptrun.config.wrong import Wrong, shown

_COORDINATE = text(example="org.apache.hadoop", pattern=r"[\w.-]+", meaning="a part of a Maven coordinate")


class SparkPackage(Element):
    """A Maven package: ``group:artifact:version``."""

    group: Annotated[str, holding(_COORDINATE)]
    artifact: Annotated[str, holding(_COORDINATE)]
    version: Annotated[str, holding(_COORDINATE)]

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def _package(value: Any, rendered: bool) -> str:  # noqa: ARG001 - the shape of every check
    if isinstance(value, SparkPackage):
        return str(value)
    if isinstance(value, dict) and set(value) == {"group", "artifact", "version"}:
        return str(SparkPackage(**value))
    parts = value.split(":") if isinstance(value, str) else []
    if len(parts) != 3 or not all(parts):
        raise Wrong(f"must be a Maven package, not {shown(value)}", "Write 'group:artifact:version'.")
    return str(value)


def _setting(name: str) -> None:
    if not name.strip() or "=" in name:
        raise Wrong("is no name of a Spark property", "Write for instance 'spark.executor.memory'.")


def _setting_value(value: Any, rendered: bool) -> str:
    return str(value).lower() if isinstance(value, bool) else argument(value, rendered)


class SparkSection(Element):
    """What a Spark session of this environment needs.

    :param repositories: addresses to look for packages at.
    :param packages: ``SparkPackage`` or ``group:artifact:version``.
    :param precache_packages: fetch them when the environment is prepared.
    """

    PLACE = "spark"

    repositories: Annotated[
        list[str],
        holding(listing(text(example="https://repo1.maven.org/maven2", secret_free=True), example="['https://...']")),
    ] = Field(default_factory=list)
    packages: Annotated[list[str], holding(listing(_package, example="['org.postgresql:postgresql:42.7.4']"))] = Field(
        default_factory=list
    )
    precache_packages: Flag = True


class SparkConfiguration(Element):
    """Spark properties of a run, for instance ``spark.executor.memory``."""

    configuration: Annotated[
        dict[str, str], holding(mapping(_setting, _setting_value, example="{'spark.executor.memory': '4g'}"))
    ] = Field(default_factory=dict)


class HdiConfiguration(Element):
    """How an application is submitted to a YARN cluster."""

    yarn_deploy_mode: Annotated[YarnDeployMode, holding(name_of(YarnDeployMode))] = YarnDeployMode.CLUSTER
