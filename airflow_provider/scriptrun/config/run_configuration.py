"""Where and how a script runs: target, environment, framework, processes, limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from airflow_provider.scriptrun.config.distributed import (
    MpiConfiguration,
    PyTorchConfiguration,
    TensorflowConfiguration,
)
from airflow_provider.scriptrun.config.docker import DockerConfiguration
from airflow_provider.scriptrun.config.element import PART, Element
from airflow_provider.scriptrun.config.environment import Environment
from airflow_provider.scriptrun.config.history import HistoryConfiguration
from airflow_provider.scriptrun.config.names import Communicator, Framework
from airflow_provider.scriptrun.config.spark import HdiConfiguration, SparkConfiguration
from airflow_provider.scriptrun.config.values import (
    Count,
    OptionalSeconds,
    OptionalWhole,
    Variables,
    argument,
    holding,
    listing,
    name_of,
    optional,
    path,
    text,
)
from airflow_provider.scriptrun.config.wrong import Wrong, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The target that needs no connection.
LOCAL = "local"
DistributedConfiguration = MpiConfiguration | PyTorchConfiguration | TensorflowConfiguration

_ARGUMENTS = listing(argument, example="['--lr', '0.1']", text_advice="Write each argument as an item.")
_COMMAND_LIST = listing(argument, example="['python', '-m', 'training']")
_AZURE_ONLY = "It has no meaning outside Azure: leave it out."
_INPUTS = "Write inputs={'name': 'address'} in ScriptRunConfig."


def _arguments(value: Any, rendered: bool) -> list[Any]:
    return [] if value is None else _ARGUMENTS(value, rendered)


def _command(value: Any, rendered: bool) -> str | list[Any] | None:
    if value is None:
        return None
    if isinstance(value, str):
        return str(text(example="python train.py --lr 0.1")(value, rendered))
    items: list[Any] = _COMMAND_LIST(value, rendered)
    if not items or items[0] == "":
        raise Wrong("names no program", "Write for instance ['python', '-m', 'training'].")
    return items


def _target(value: Any, rendered: bool) -> str:
    if not isinstance(value, str):
        raise Wrong(
            f"must name a compute target, not {shown(value)}",
            "Write an Airflow connection id, or 'local' for this host.",
        )
    return str(
        text(example=LOCAL, pattern=r"[\w#!()\-.:/\\]{1,250}", meaning="an Airflow connection id or 'local'")(
            value, rendered
        )
    )


class RunConfiguration(Element):
    """Where and how a script runs.

    :param script: the script to run, relative to the source directory.
    :param arguments: its arguments, one item each: nothing is split or joined.
    :param framework: how it is launched: Python, PySpark, TensorFlow, PyTorch.
    :param communicator: how the processes of a distributed script talk to each other.
    :param command: in place of a script: a list of items, or one text for ``/bin/sh``.
    :param target: an Airflow connection id, or ``local``.
    :param node_count: hosts that the run takes.
    :param priority: among what waits for the same target; higher goes first.
    :param max_run_duration_seconds: then it is cancelled; ``None``: no limit.
    :param environment_variables: for the script; they win over the environment's.
    """

    PLACE = "run_config"
    ABSENT = {
        "compute_target": "Here Azure ML calls it target.",
        "auto_prepare_environment": "Leave it out: an environment is always prepared.",
        "amlcompute": _AZURE_ONLY,
        "auto_cluster_compute_specification": _AZURE_ONLY,
        "credential_passthrough": _AZURE_ONLY,
        "data": _INPUTS,
        "data_references": _INPUTS,
        "datacaches": _AZURE_ONLY,
        "kubernetescompute": _AZURE_ONLY,
        "output_data": "Let the script write to outputs/.",
        "paralleltask": _AZURE_ONLY,
        "services": _AZURE_ONLY,
        "source_directory_data_store": _AZURE_ONLY,
    }

    script: Annotated[str | None, holding(optional(path(example="train.py")))] = None
    arguments: Annotated[list[str], holding(_arguments)] = Field(default_factory=list)
    framework: Annotated[Framework, holding(name_of(Framework))] = Framework.PYTHON
    communicator: Annotated[Communicator, holding(name_of(Communicator))] = Communicator.NONE
    command: Annotated[str | list[str] | None, holding(_command)] = None
    target: Annotated[str, holding(_target)] = LOCAL
    environment: Annotated[Environment, PART] = Field(default_factory=Environment)
    environment_variables: Variables = Field(default_factory=dict)
    node_count: Count = 1
    priority: OptionalWhole = None
    max_run_duration_seconds: OptionalSeconds = None
    docker: Annotated[DockerConfiguration, PART] = Field(default_factory=DockerConfiguration)
    spark: Annotated[SparkConfiguration, PART] = Field(default_factory=SparkConfiguration)
    hdi: Annotated[HdiConfiguration, PART] = Field(default_factory=HdiConfiguration)
    mpi: Annotated[MpiConfiguration, PART] = Field(default_factory=MpiConfiguration)
    pytorch: Annotated[PyTorchConfiguration, PART] = Field(default_factory=PyTorchConfiguration)
    tensorflow: Annotated[TensorflowConfiguration, PART] = Field(default_factory=TensorflowConfiguration)
    history: Annotated[HistoryConfiguration, PART] = Field(default_factory=HistoryConfiguration)

    def clone(self) -> RunConfiguration:
        """Return a copy that shares nothing with this one."""
        return self._twin()

    @property
    def distributed_job_config(self) -> DistributedConfiguration | None:
        """The section that the communicator makes count; ``None``: the script is not distributed."""
        if not isinstance(self.communicator, Communicator):
            return None
        if self.communicator.is_mpi:
            return self.mpi
        if self.communicator.is_pytorch:
            return self.pytorch
        return self.tensorflow if self.communicator is Communicator.PARAMETER_SERVER else None

    def _child_place(self, name: str) -> str:
        return (
            "config.environment"
            if self._place == "config.run_config" and name == "environment"
            else self._path((name,))
        )

    def _conflicts(self) -> Iterator[Wrong]:
        section = self.distributed_job_config
        if section is None or not isinstance(section, Element):
            return
        hosts = getattr(section, "node_count", getattr(section, "worker_count", 1))
        if isinstance(hosts, int) and isinstance(self.node_count, int) and hosts not in (1, self.node_count):
            yield Wrong(
                f"is {self.node_count}, and the configuration for {self.communicator} says {hosts}",
                f"Write node_count={hosts}, or leave it out of {type(section).__name__}.",
                ("node_count",),
            )


def distributed_fields(value: Any) -> dict[str, Any]:
    """Return the fields of a ``RunConfiguration`` that a distributed configuration stands for, as Azure ML maps them.

    MPI's communicator is IntelMpi there; here it is OpenMpi, which is what Linux hosts have. Raises ``Wrong``.
    """
    if isinstance(value, MpiConfiguration):
        return _distributed(Framework.PYTHON, Communicator.OPEN_MPI, value.node_count, mpi=value)
    if isinstance(value, PyTorchConfiguration):
        backend = value.communication_backend
        communicator = getattr(backend, "value", backend)
        return _distributed(Framework.PYTORCH, communicator, value.node_count, pytorch=value)
    if isinstance(value, TensorflowConfiguration):
        return _distributed(Framework.TENSORFLOW, Communicator.PARAMETER_SERVER, value.worker_count, tensorflow=value)
    raise Wrong(
        f"must be a MpiConfiguration, PyTorchConfiguration or TensorflowConfiguration, not {shown(value)}",
        "Write for instance MpiConfiguration(node_count=2); in a dictionary, run_config={'communicator': 'OpenMpi', "
        "'node_count': 2, 'mpi': {...}}.",
    )


def _distributed(framework: Framework, communicator: Any, node_count: int, **section: Any) -> dict[str, Any]:
    return {"framework": framework, "communicator": communicator, "node_count": node_count, **section}
