"""What a configuration may say already, and which targets cannot do it yet: one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider.scriptrun.config.docker import DEFAULT_SHM_SIZE
from airflow_provider.scriptrun.config.history import DEFAULT_DIRECTORIES
from airflow_provider.scriptrun.config.names import Communicator, EnvironmentKind, Framework
from airflow_provider.scriptrun.config.spark import SparkSection

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider.scriptrun.config.script_run_config import ScriptRunConfig

#: What is used of containers -> how to see that it is.
_OF_CONTAINERS: dict[str, Callable[[ScriptRunConfig], bool]] = {
    "environment.docker": lambda config: config.environment.docker.kind is not None,
    "run_config.docker.use_docker": lambda config: config.run_config.docker.use_docker,
    "run_config.docker.arguments": lambda config: bool(config.run_config.docker.arguments),
    "run_config.docker.shm_size": lambda config: config.run_config.docker.shm_size != DEFAULT_SHM_SIZE,
}
#: What is used -> how to see that it is.
_FEATURES: dict[str, Callable[[ScriptRunConfig], bool]] = {
    **_OF_CONTAINERS,
    "environment.spark": lambda config: config.environment.spark != SparkSection(),
    "run_config.framework PySpark": lambda config: config.run_config.framework is Framework.PYSPARK,
    "run_config.framework PyTorch": lambda config: config.run_config.framework is Framework.PYTORCH,
    "run_config.framework TensorFlow": lambda config: config.run_config.framework is Framework.TENSORFLOW,
    "run_config.communicator": lambda config: config.run_config.communicator is not Communicator.NONE,
    "run_config.node_count": lambda config: config.run_config.node_count != 1,
    "run_config.priority": lambda config: config.run_config.priority is not None,
    "run_config.history.output_collection": lambda config: not config.run_config.history.output_collection,
    "run_config.history.snapshot_project": lambda config: not config.run_config.history.snapshot_project,
    "run_config.history.directories_to_watch": lambda config: (
        config.run_config.history.directories_to_watch != list(DEFAULT_DIRECTORIES)
    ),
    "environment.python.base_conda_environment": lambda config: (
        config.environment.kind is EnvironmentKind.EXISTING_CONDA
    ),
    "inputs": lambda config: bool(config.inputs),
    "resume_from": lambda config: config.resume_from is not None,
}

#: Type of target -> what it can do already.
_ON_A_HOST = frozenset({"environment.python.base_conda_environment", "inputs"})
_THERE: dict[str, frozenset[str]] = {
    "local": _ON_A_HOST,
    "ssh": _ON_A_HOST,
    "docker": _ON_A_HOST | frozenset(_OF_CONTAINERS),
}


def unsupported(config: ScriptRunConfig, target_type: str) -> list[str]:
    """Return one sentence for each thing that a resolved configuration uses and this type of target cannot do yet."""
    there = _THERE.get(target_type, frozenset())
    return [
        f"config.{name} {_lack(name, target_type)}"
        for name, is_used in _FEATURES.items()
        if name not in there and is_used(config)
    ]


def _lack(name: str, target_type: str) -> str:
    if name not in _OF_CONTAINERS:
        return f"is not there yet on a target of type {target_type!r}."
    return (
        f"asks for a container, and a target of type {target_type!r} runs none: "
        "name an Airflow connection of type scriptrun_docker as compute_target, or set use_docker on one over SSH."
    )
