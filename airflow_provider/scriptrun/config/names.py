"""Azure ML's names for ways to launch a script and kinds of environment, read in whatever case they are written."""

from __future__ import annotations

from enum import Enum
from typing import Any


class _Name(str, Enum):
    """A name whose case does not matter when it is written, and is Azure ML's when it is read."""

    def __str__(self) -> str:
        return str(self.value)

    @classmethod
    def _missing_(cls, value: object) -> Any:
        text = str(value).lower()
        return next((member for member in cls if member.value.lower() == text), None)


class Framework(_Name):
    """How the script is launched."""

    PYTHON = "Python"
    PYSPARK = "PySpark"
    TENSORFLOW = "TensorFlow"
    PYTORCH = "PyTorch"


class Communicator(_Name):
    """How the processes of a distributed script find and talk to each other."""

    NONE = "None"
    PARAMETER_SERVER = "ParameterServer"
    OPEN_MPI = "OpenMpi"
    INTEL_MPI = "IntelMpi"
    NCCL = "Nccl"
    GLOO = "Gloo"

    @property
    def is_mpi(self) -> bool:
        """Whether the script is started by ``mpirun``."""
        return self in (Communicator.OPEN_MPI, Communicator.INTEL_MPI)

    @property
    def is_pytorch(self) -> bool:
        """Whether it is one of PyTorch's backends."""
        return self in (Communicator.NCCL, Communicator.GLOO)


class CommunicationBackend(_Name):
    """What PyTorch's processes talk over."""

    NCCL = "Nccl"
    GLOO = "Gloo"


class YarnDeployMode(_Name):
    """Where YARN runs the driver of a Spark application."""

    CLUSTER = "cluster"
    CLIENT = "client"


class EnvironmentKind(_Name):
    """What an environment is made from: the one thing that whoever prepares it branches on."""

    DEFAULT = "default"  #: the target's own interpreter, nothing installed
    USER_MANAGED = "user-managed"  #: an interpreter of the user's, used as it is
    PIP = "pip"  #: requirements for pip, and a Python version at most
    CONDA = "conda"  #: a conda specification, or conda packages
    EXISTING_CONDA = "existing-conda"  #: a conda environment that the target has already, by name
    CURATED = "curated"  #: one of the list that comes with the provider
    DOCKER_IMAGE = "docker-image"
    DOCKERFILE = "dockerfile"
    DOCKER_BUILD_CONTEXT = "docker-build-context"

    @property
    def is_docker(self) -> bool:
        """Whether the script runs in a container."""
        return self in (
            EnvironmentKind.DOCKER_IMAGE,
            EnvironmentKind.DOCKERFILE,
            EnvironmentKind.DOCKER_BUILD_CONTEXT,
        )
