"""What the world around a run provides: settings, connections, secrets, the log masker. The edge implements it."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider.scriptrun.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider.scriptrun.runs.settings import Settings
    from airflow_provider.scriptrun.targets.surroundings import SshDialer

#: Airflow's implementation, as ``module:class``; made without arguments.
DEFAULT = "airflow_provider.scriptrun.hooks.surroundings:AirflowSurroundings"
_in_use: Surroundings | None = None


@dataclass(frozen=True)
class ConnectionFields:
    """An Airflow connection as plain values. Its password and extras are secret: never in a record, a log, a handle."""

    id: str
    type: str
    host: str | None = None
    port: int | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    schema: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Surroundings(Protocol):
    """What a run needs from where it is submitted; ``hooks/surroundings.py`` has it for Airflow and notebooks."""

    @property
    def settings(self) -> Settings:
        """The ``[scriptrun]`` options, with ``workspace`` and ``cache_directory`` filled in."""

    @property
    def base_directory(self) -> Path:
        """What relative paths of a configuration are relative to: the DAG file's folder, or the working directory."""

    @property
    def hosts_may_differ(self) -> bool:
        """Whether the next try may run on another host than this one (the executor has several)."""

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks on: bars instead of a line every few seconds."""

    def connection(self, connection_id: str) -> ConnectionFields:
        """Return a connection; its secrets are already known to the masker.

        Raises :class:`ConfigurationError` that names the variable to set when there is none.
        """

    def ssh(self, connection_id: str) -> SshDialer:
        """Return what connects to the host of an SSH connection. Raises :class:`ConfigurationError`."""

    def file_system(self, kind: str, connection_id: str) -> Any:
        """Return the fsspec file system of a kind (``s3``) that a connection opens.

        Raises :class:`ConfigurationError` that names what is missing.
        """

    def secret(self, reference: str) -> str:
        """Return what ``conn:<id>/<field>`` or ``var:<name>`` refers to; it is already known to the masker.

        Raises :class:`ConfigurationError` that names the reference.
        """

    def mask(self, secret: str) -> None:
        """Make the log masker hide this text from now on."""


def current() -> Surroundings:
    """Return the surroundings in use; those for Airflow and plain Python are found when first asked for.

    They are named by a dotted name and imported here, so that nothing below Airflow's edge imports Airflow.
    Raises :class:`ConfigurationError` when they cannot be imported.
    """
    global _in_use
    if _in_use is None:
        module, _, name = DEFAULT.partition(":")
        try:
            _in_use = getattr(import_module(module), name)()
        except ImportError as error:
            raise ConfigurationError(
                "The settings of [scriptrun] cannot be read",
                why=str(error),
                advice="Install apache-airflow 3.3 or later",
            ) from error
    return _in_use


def use(surroundings: Surroundings | None) -> Surroundings | None:
    """Put other surroundings in use, for a test or a program of one's own, and return the previous ones.

    ``None``: find Airflow's again when they are asked for.
    """
    global _in_use
    previous, _in_use = _in_use, surroundings
    return previous
