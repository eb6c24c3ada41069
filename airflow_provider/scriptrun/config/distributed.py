"""How many processes a distributed script has, and what they talk over."""

from __future__ import annotations

from typing import Annotated

from airflow_provider.scriptrun.config.element import Element
from airflow_provider.scriptrun.config.names import CommunicationBackend
from airflow_provider.scriptrun.config.values import Count, OptionalCount, holding, name_of


class MpiConfiguration(Element):
    """A script that ``mpirun`` starts."""

    process_count_per_node: Count = 1
    node_count: Count = 1


class PyTorchConfiguration(Element):
    """A script that PyTorch's launcher starts.

    :param process_count: of all nodes together; ``None``: one a node.
    """

    communication_backend: Annotated[CommunicationBackend, holding(name_of(CommunicationBackend))] = (
        CommunicationBackend.NCCL
    )
    process_count: OptionalCount = None
    node_count: Count = 1


class TensorflowConfiguration(Element):
    """A script with TensorFlow's workers and parameter servers."""

    worker_count: Count = 1
    parameter_server_count: Count = 1
