"""Describe a training script once, and run it unchanged on any compute target that an Airflow connection names.

Every public name is here, and is imported when it is used: a DAG file pays for what it names, and for nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider.scriptrun.config import (
        Communicator as Communicator,
    )
    from airflow_provider.scriptrun.config import (
        CondaDependencies as CondaDependencies,
    )
    from airflow_provider.scriptrun.config import (
        ContainerRegistry as ContainerRegistry,
    )
    from airflow_provider.scriptrun.config import (
        DockerBuildContext as DockerBuildContext,
    )
    from airflow_provider.scriptrun.config import (
        DockerConfiguration as DockerConfiguration,
    )
    from airflow_provider.scriptrun.config import (
        DockerSection as DockerSection,
    )
    from airflow_provider.scriptrun.config import (
        Environment as Environment,
    )
    from airflow_provider.scriptrun.config import (
        Framework as Framework,
    )
    from airflow_provider.scriptrun.config import (
        HdiConfiguration as HdiConfiguration,
    )
    from airflow_provider.scriptrun.config import (
        HistoryConfiguration as HistoryConfiguration,
    )
    from airflow_provider.scriptrun.config import (
        MpiConfiguration as MpiConfiguration,
    )
    from airflow_provider.scriptrun.config import (
        PythonSection as PythonSection,
    )
    from airflow_provider.scriptrun.config import (
        PyTorchConfiguration as PyTorchConfiguration,
    )
    from airflow_provider.scriptrun.config import (
        RunConfiguration as RunConfiguration,
    )
    from airflow_provider.scriptrun.config import (
        ScriptRunConfig as ScriptRunConfig,
    )
    from airflow_provider.scriptrun.config import (
        SecretReference as SecretReference,
    )
    from airflow_provider.scriptrun.config import (
        SparkConfiguration as SparkConfiguration,
    )
    from airflow_provider.scriptrun.config import (
        SparkPackage as SparkPackage,
    )
    from airflow_provider.scriptrun.config import (
        SparkSection as SparkSection,
    )
    from airflow_provider.scriptrun.config import (
        TensorflowConfiguration as TensorflowConfiguration,
    )
    from airflow_provider.scriptrun.errors import (
        ConfigurationError as ConfigurationError,
    )
    from airflow_provider.scriptrun.errors import (
        EnvironmentFailedError as EnvironmentFailedError,
    )
    from airflow_provider.scriptrun.errors import (
        NotSupportedError as NotSupportedError,
    )
    from airflow_provider.scriptrun.errors import (
        OtherHostError as OtherHostError,
    )
    from airflow_provider.scriptrun.errors import (
        OutOfMemoryError as OutOfMemoryError,
    )
    from airflow_provider.scriptrun.errors import (
        ProtocolError as ProtocolError,
    )
    from airflow_provider.scriptrun.errors import (
        ResolutionError as ResolutionError,
    )
    from airflow_provider.scriptrun.errors import (
        RunCanceledError as RunCanceledError,
    )
    from airflow_provider.scriptrun.errors import (
        RunFailedError as RunFailedError,
    )
    from airflow_provider.scriptrun.errors import (
        RunLostError as RunLostError,
    )
    from airflow_provider.scriptrun.errors import (
        RunNotFoundError as RunNotFoundError,
    )
    from airflow_provider.scriptrun.errors import (
        RunOrphanedError as RunOrphanedError,
    )
    from airflow_provider.scriptrun.errors import (
        RunSupersededError as RunSupersededError,
    )
    from airflow_provider.scriptrun.errors import (
        RunTimeoutError as RunTimeoutError,
    )
    from airflow_provider.scriptrun.errors import (
        ScriptFailedError as ScriptFailedError,
    )
    from airflow_provider.scriptrun.errors import (
        ScriptRunError as ScriptRunError,
    )
    from airflow_provider.scriptrun.errors import (
        SnapshotChangedError as SnapshotChangedError,
    )
    from airflow_provider.scriptrun.errors import (
        SnapshotError as SnapshotError,
    )
    from airflow_provider.scriptrun.errors import (
        SnapshotTooLargeError as SnapshotTooLargeError,
    )
    from airflow_provider.scriptrun.errors import (
        TargetError as TargetError,
    )
    from airflow_provider.scriptrun.errors import (
        TargetRefusedError as TargetRefusedError,
    )
    from airflow_provider.scriptrun.errors import (
        TargetUnreachableError as TargetUnreachableError,
    )
    from airflow_provider.scriptrun.errors import (
        UnknownRunError as UnknownRunError,
    )
    from airflow_provider.scriptrun.errors import (
        WorkspaceError as WorkspaceError,
    )
    from airflow_provider.scriptrun.hooks.scriptrun import ScriptRunHook as ScriptRunHook
    from airflow_provider.scriptrun.operators.scriptrun import ScriptRunOperator as ScriptRunOperator
    from airflow_provider.scriptrun.operators.trigger_form import script_run_params as script_run_params
    from airflow_provider.scriptrun.runs import Experiment as Experiment
    from airflow_provider.scriptrun.runs import Run as Run
    from airflow_provider.scriptrun.runs import Workspace as Workspace

from airflow_provider.scriptrun.version import __version__

#: Module of this package -> the public names that it defines.
_NAMES: dict[str, tuple[str, ...]] = {
    "config": (
        "Communicator",
        "CondaDependencies",
        "ContainerRegistry",
        "DockerBuildContext",
        "DockerConfiguration",
        "DockerSection",
        "Environment",
        "Framework",
        "HdiConfiguration",
        "HistoryConfiguration",
        "MpiConfiguration",
        "PyTorchConfiguration",
        "PythonSection",
        "RunConfiguration",
        "ScriptRunConfig",
        "SecretReference",
        "SparkConfiguration",
        "SparkPackage",
        "SparkSection",
        "TensorflowConfiguration",
    ),
    "errors": (
        "ConfigurationError",
        "EnvironmentFailedError",
        "NotSupportedError",
        "OtherHostError",
        "OutOfMemoryError",
        "ProtocolError",
        "ResolutionError",
        "RunCanceledError",
        "RunFailedError",
        "RunLostError",
        "RunNotFoundError",
        "RunOrphanedError",
        "RunSupersededError",
        "RunTimeoutError",
        "ScriptFailedError",
        "ScriptRunError",
        "SnapshotChangedError",
        "SnapshotError",
        "SnapshotTooLargeError",
        "TargetError",
        "TargetRefusedError",
        "TargetUnreachableError",
        "UnknownRunError",
        "WorkspaceError",
    ),
    "hooks.scriptrun": ("ScriptRunHook",),
    "operators.scriptrun": ("ScriptRunOperator",),
    "operators.trigger_form": ("script_run_params",),
    "runs": ("Experiment", "Run", "Workspace"),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOMES)]


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
