"""From a name to a target: ``local``, or an Airflow connection id, by the type of that connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider.scriptrun.targets.contract import ComputeTarget
    from airflow_provider.scriptrun.targets.surroundings import TargetSurroundings
    from airflow_provider.scriptrun.targets.values import Handle

#: The target that needs no connection: the host that the worker runs on.
LOCAL = "local"


def open_target(name: str, surroundings: TargetSurroundings, *, host_id: str | None = None) -> ComputeTarget:
    """Return the target that ``name`` (``local``, or an Airflow connection id) stands for; nothing is contacted yet.

    :param host_id: of the host that it must be: every verb raises :class:`OtherHostError` on another one.
    :raises ConfigurationError: there is no such connection, its type is no target's, or one of its fields is wrong.
    :raises NotSupportedError: its type is a target's that this release does not have yet.
    """
    raise NotImplementedError


def open_handle(handle: Handle, surroundings: TargetSurroundings) -> ComputeTarget:
    """Return the target on which the run of ``handle`` is, held to the host and the root that it was started on."""
    raise NotImplementedError
