"""What a person writes: pydantic models without any I/O. Names are imported when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider.scriptrun.config.conda import CondaDependencies as CondaDependencies
    from airflow_provider.scriptrun.config.distributed import (
        MpiConfiguration as MpiConfiguration,
    )
    from airflow_provider.scriptrun.config.distributed import (
        PyTorchConfiguration as PyTorchConfiguration,
    )
    from airflow_provider.scriptrun.config.distributed import (
        TensorflowConfiguration as TensorflowConfiguration,
    )
    from airflow_provider.scriptrun.config.docker import (
        ContainerRegistry as ContainerRegistry,
    )
    from airflow_provider.scriptrun.config.docker import (
        DockerBuildContext as DockerBuildContext,
    )
    from airflow_provider.scriptrun.config.docker import (
        DockerConfiguration as DockerConfiguration,
    )
    from airflow_provider.scriptrun.config.docker import (
        DockerSection as DockerSection,
    )
    from airflow_provider.scriptrun.config.environment import Environment as Environment
    from airflow_provider.scriptrun.config.history import HistoryConfiguration as HistoryConfiguration
    from airflow_provider.scriptrun.config.names import (
        Communicator as Communicator,
    )
    from airflow_provider.scriptrun.config.names import (
        EnvironmentKind as EnvironmentKind,
    )
    from airflow_provider.scriptrun.config.names import (
        Framework as Framework,
    )
    from airflow_provider.scriptrun.config.overrides import template_value as template_value
    from airflow_provider.scriptrun.config.overrides import with_overrides as with_overrides
    from airflow_provider.scriptrun.config.python import PythonSection as PythonSection
    from airflow_provider.scriptrun.config.run_configuration import RunConfiguration as RunConfiguration
    from airflow_provider.scriptrun.config.script_run_config import ScriptRunConfig as ScriptRunConfig
    from airflow_provider.scriptrun.config.secret import SecretReference as SecretReference
    from airflow_provider.scriptrun.config.spark import (
        HdiConfiguration as HdiConfiguration,
    )
    from airflow_provider.scriptrun.config.spark import (
        SparkConfiguration as SparkConfiguration,
    )
    from airflow_provider.scriptrun.config.spark import (
        SparkPackage as SparkPackage,
    )
    from airflow_provider.scriptrun.config.spark import (
        SparkSection as SparkSection,
    )
    from airflow_provider.scriptrun.config.support import unsupported as unsupported

#: Public name -> module of this package that defines it.
_HOMES: dict[str, str] = {
    "Communicator": "names",
    "CondaDependencies": "conda",
    "ContainerRegistry": "docker",
    "DockerBuildContext": "docker",
    "DockerConfiguration": "docker",
    "DockerSection": "docker",
    "Environment": "environment",
    "EnvironmentKind": "names",
    "Framework": "names",
    "HdiConfiguration": "spark",
    "HistoryConfiguration": "history",
    "MpiConfiguration": "distributed",
    "PyTorchConfiguration": "distributed",
    "PythonSection": "python",
    "RunConfiguration": "run_configuration",
    "ScriptRunConfig": "script_run_config",
    "SecretReference": "secret",
    "SparkConfiguration": "spark",
    "SparkPackage": "spark",
    "SparkSection": "spark",
    "TensorflowConfiguration": "distributed",
    "template_value": "overrides",
    "unsupported": "support",
    "with_overrides": "overrides",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
