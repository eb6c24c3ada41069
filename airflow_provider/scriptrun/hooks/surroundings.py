"""Airflow as a run sees it, in a task and in plain Python alike: options, connections, secrets, the log masker."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import ConfigurationError
from airflow_provider.scriptrun.hooks import lookup
from airflow_provider.scriptrun.runs.settings import Settings
from airflow_provider.scriptrun.runs.surroundings import ConnectionFields

if TYPE_CHECKING:
    from airflow_provider.scriptrun.hooks.ssh import SshDialer

SECTION = "scriptrun"
#: Types of connection that lead to a host over SSH.
SSH_TYPES = ("scriptrun_ssh", "ssh")
#: Executors whose tasks all run on the scheduler's own host; any other may put the next try on another host.
ONE_HOST_EXECUTORS = frozenset({"LocalExecutor", "SequentialExecutor", "DebugExecutor"})
#: The parts of a connection that a secret reference may name besides the keys of its extras.
CONNECTION_PARTS = ("password", "login", "host", "schema", "port")
REFERENCE_FORMS = "conn:<connection id>/<password, login, host, schema, port or a key of its extras> or var:<variable>"


class AirflowSurroundings:
    """Implements :class:`~airflow_provider.scriptrun.runs.surroundings.Surroundings` on Airflow.

    :param base_directory: what relative paths are relative to: a task gives its DAG file's folder. Default: the
        working directory.
    """

    def __init__(self, base_directory: Path | None = None) -> None:
        self._base_directory = base_directory

    @property
    def base_directory(self) -> Path:
        """What relative paths are relative to."""
        return (self._base_directory or Path.cwd()).absolute()

    @cached_property
    def settings(self) -> Settings:
        """The ``[scriptrun]`` options, with ``workspace`` and ``cache_directory`` filled in."""
        from airflow.sdk.configuration import conf

        def option(name: str) -> str | None:
            value = conf.get(SECTION, name, fallback=None)
            return None if value is None else str(value)

        settings = Settings.read(option)
        home = airflow_home()
        return replace(
            settings,
            workspace=settings.workspace or str(home / "scriptrun"),
            cache_directory=settings.cache_directory or str(home / "scriptrun-cache"),
        )

    @cached_property
    def hosts_may_differ(self) -> bool:
        """Whether this is a task, and its next try may run on another host."""
        from airflow.sdk.configuration import conf

        names = conf.get("core", "executor", fallback="LocalExecutor").split(",")
        # An entry may carry a team ("team=Executor") or an alias ("name:Executor"), and a dotted path.
        classes = {name.split("=")[-1].split(":")[-1].strip().rpartition(".")[2] for name in names}
        return lookup.in_task() and not classes <= ONE_HOST_EXECUTORS

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks on."""
        return not lookup.in_task() and sys.stderr.isatty()

    def connection(self, connection_id: str) -> ConnectionFields:
        """Return a connection; its password, and what its extras call a secret, are known to the masker by then.

        Raises :class:`ConfigurationError` that names the variable to set.
        """
        found = lookup.connection(connection_id)
        if found is None:
            variable = f"AIRFLOW_CONN_{connection_id.upper()}"
            if os.environ.get(variable):
                raise ConfigurationError(
                    f"The variable {variable} is set, and holds no connection that Airflow can read",
                    advice='Write JSON, for instance {"conn_type": "scriptrun_local"}, or a URI into it',
                )
            raise ConfigurationError(
                f"There is no Airflow connection {connection_id!r}",
                advice="Make one in Airflow (Admin, Connections), or set the variable "
                f"{variable} to its JSON or URI. The id `local` needs none: it is this host.",
            )
        extra = _extras(found)
        fields = ConnectionFields(
            id=connection_id,
            type=found.conn_type or "",
            host=found.host or None,
            port=int(found.port) if found.port else None,
            login=found.login or None,
            password=found.password or None,
            schema=found.schema or None,
            extra=extra,
        )
        if fields.password:
            _mask(fields.password)
        for name, value in extra.items():
            _mask(value, name)
        return fields

    def ssh(self, connection_id: str) -> SshDialer:
        """Return what connects to the host of an SSH connection, through those that its ``jump_hosts`` name.

        Raises :class:`ConfigurationError`.
        """
        from airflow_provider.scriptrun.hooks.ssh import SshDialer

        connection = self.connection(connection_id)
        names = connection.extra.get("jump_hosts") or ""
        if not isinstance(names, str):
            raise ConfigurationError(
                f"The connection {connection_id}: jump_hosts must be ids of SSH connections, separated by commas"
            )
        hops = [self.connection(name) for name in re.split(r"[,\s]+", names.strip(", ")) if name]
        for hop in hops:
            if hop.type not in SSH_TYPES:
                raise ConfigurationError(
                    f"The connection {connection_id}: its jump host {hop.id} is of type {hop.type!r}, not SSH"
                )
        return SshDialer(connection, [SshDialer(hop) for hop in hops])

    def file_system(self, kind: str, connection_id: str) -> Any:
        """Return the fsspec file system of ``kind`` that a connection opens, as ``ObjectStoragePath`` has it.

        Raises :class:`ConfigurationError` when there is no such connection, or no provider for it.
        """
        from airflow.sdk.io import get_fs

        self.connection(connection_id)  # whose secrets are masked from here on
        try:
            return get_fs(kind, connection_id)
        except (ValueError, ImportError) as error:
            raise ConfigurationError(
                f"{kind}://{connection_id}@... cannot be opened by its Airflow connection",
                why=str(error),
                advice="Install the Airflow provider of this storage (for s3: apache-airflow-providers-amazon with "
                "s3fs), or leave the connection out: fsspec then finds the credentials of the environment.",
            ) from error

    def secret(self, reference: str) -> str:
        """Return what the reference names; it is known to the masker by then. Raises :class:`ConfigurationError`."""
        kind, _, rest = reference.partition(":")
        if kind == "var" and rest:
            value = lookup.variable(rest)
            missing = f"set the variable AIRFLOW_VAR_{rest.upper()}, or make the Airflow variable {rest!r}"
        elif kind == "conn" and all(parts := rest.rpartition("/")):
            connection, _, name = parts
            value = _part(self.connection(connection), name)
            missing = f"give the connection {connection!r} a {name}"
        else:
            raise ConfigurationError(f"{reference!r} is no reference to a secret", advice=f"Write {REFERENCE_FORMS}.")
        if not value:
            raise ConfigurationError(f"The secret {reference!r} is empty or not there", advice=f"To run, {missing}.")
        _mask(value)
        return value

    def mask(self, secret: str) -> None:
        """Make the log masker hide this text."""
        _mask(secret)


def _mask(value: Any, name: str | None = None) -> None:
    """Mask a text, and each line of it, since a log is masked line by line.

    :param name: mask it only if Airflow calls this name sensitive.
    """
    from airflow.sdk.log import mask_secret

    if isinstance(value, Mapping):
        for key, item in value.items():
            _mask(item, str(key))
    elif isinstance(value, (list, tuple)):
        for item in value:
            _mask(item, name)
    elif isinstance(value, str):
        for text in dict.fromkeys((value, *(line.strip() for line in value.splitlines()))):
            mask_secret(text, name)


def airflow_home() -> Path:
    """Return the folder that Airflow calls its home."""
    return Path(os.path.expandvars(os.environ.get("AIRFLOW_HOME") or "~/airflow")).expanduser().absolute()


def _extras(found: lookup.Found) -> dict[str, Any]:
    if not found.extra:
        return {}
    try:
        extra = json.loads(found.extra)
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise ConfigurationError(
            f"The extras of the connection {found.conn_id!r} are no JSON object",
            advice="Correct them in the connection.",
        )
    return extra


def _part(connection: ConnectionFields, name: str) -> str | None:
    value = getattr(connection, name) if name in CONNECTION_PARTS else connection.extra.get(name)
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)
