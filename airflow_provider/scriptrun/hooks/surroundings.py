"""Airflow as a run sees it: options, connections, secrets, the log masker. Works in a task and in plain Python alike.

In a task everything comes through the task SDK. Outside of one the SDK looks into the environment and the configured
secrets backends only; what it does not find there is asked from the metadata database, where there is one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

from airflow_provider.scriptrun.errors import ConfigurationError
from airflow_provider.scriptrun.runs.settings import Settings
from airflow_provider.scriptrun.runs.surroundings import ConnectionFields

Answer = TypeVar("Answer")

SECTION = "scriptrun"
#: Executors whose tasks all run on the scheduler's own host; any other may put the next try on another host.
ONE_HOST_EXECUTORS = frozenset({"LocalExecutor", "SequentialExecutor", "DebugExecutor"})
#: The parts of a connection that a secret reference may name besides the keys of its extras.
CONNECTION_PARTS = ("password", "login", "host", "schema", "port")
REFERENCE_FORMS = "conn:<connection id>/<password, login, host, schema, port or a key of its extras> or var:<variable>"


class _Found(Protocol):
    """What an Airflow connection has, whether the task SDK or the metadata database gave it."""

    conn_id: Any
    conn_type: Any
    host: Any
    port: Any
    login: Any
    password: Any
    schema: Any
    extra: Any


class AirflowSurroundings:
    """Implements :class:`~airflow_provider.scriptrun.runs.surroundings.Surroundings` on Airflow.

    :param base_directory: what relative paths are relative to: a task gives its DAG file's folder. Default: the
        working directory.
    """

    def __init__(self, base_directory: Path | None = None) -> None:
        self.base_directory = (base_directory or Path.cwd()).absolute()

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
        return in_task() and not classes <= ONE_HOST_EXECUTORS

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks on."""
        return not in_task() and sys.stderr.isatty()

    def connection(self, connection_id: str) -> ConnectionFields:
        """Return a connection; its password, and what its extras call a secret, are known to the masker by then.

        Raises :class:`ConfigurationError` that names the variable to set.
        """
        found = _sdk_connection(connection_id) or _stored_connection(connection_id)
        if found is None:
            raise ConfigurationError(
                f"There is no Airflow connection {connection_id!r}",
                advice="Make one in Airflow (Admin, Connections), or set the variable "
                f"AIRFLOW_CONN_{connection_id.upper()} to its JSON or URI. The id `local` needs none: it is this host.",
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

    def secret(self, reference: str) -> str:
        """Return what the reference names; it is known to the masker by then. Raises :class:`ConfigurationError`."""
        kind, _, rest = reference.partition(":")
        if kind == "var" and rest:
            value = _variable(rest)
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


def in_task() -> bool:
    """Whether this process is one of Airflow's task runners, where the task SDK answers everything."""
    return getattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS", None) is not None


def airflow_home() -> Path:
    """Return the folder that Airflow calls its home."""
    return Path(os.path.expandvars(os.environ.get("AIRFLOW_HOME") or "~/airflow")).expanduser().absolute()


def _extras(found: _Found) -> dict[str, Any]:
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


def _sdk_connection(connection_id: str) -> _Found | None:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found: _Found = BaseHook.get_connection(connection_id)
    except AirflowNotFoundException:
        if in_task():
            from airflow.sdk.execution_time.comms import GetConnection

            _refuse_silence(GetConnection(conn_id=connection_id))
        return None
    return found


def _refuse_silence(question: Any) -> None:
    """Raise ``AirflowRuntimeError`` if the API server does not answer at all.

    The SDK's ``ExecutionAPISecretsBackend`` takes an API server that is away for a missing connection,
    and a task must not fail for good over that.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import ErrorResponse

    answer = task_runner.SUPERVISOR_COMMS.send(question)
    unknown = (ErrorType.CONNECTION_NOT_FOUND, ErrorType.VARIABLE_NOT_FOUND)
    if isinstance(answer, ErrorResponse) and answer.error not in unknown:
        raise AirflowRuntimeError(answer)


def _stored_connection(connection_id: str) -> _Found | None:
    def ask() -> _Found | None:
        from airflow.models.connection import Connection
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            found: _Found = Connection.get_connection_from_secrets(connection_id)
        except AirflowNotFoundException:
            return None
        return found

    return _ask_database(ask)


def _variable(name: str) -> str | None:
    from airflow.sdk import Variable
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType

    try:
        found = Variable.get(name)
    except AirflowRuntimeError as error:
        if error.error.error != ErrorType.VARIABLE_NOT_FOUND:
            raise
        if in_task():
            from airflow.sdk.execution_time.comms import GetVariable

            _refuse_silence(GetVariable(key=name))
        return _ask_database(lambda: _stored_variable(name))
    return None if found is None else str(found)


def _stored_variable(name: str) -> str | None:
    from airflow.models.variable import Variable

    found = Variable.get(name, default_var=None)
    return None if found is None else str(found)


def _ask_database(ask: Callable[[], Answer | None]) -> Answer | None:
    """Return what the metadata database answers; ``None`` where there is none, and in a task (the SDK was asked)."""
    if in_task() or not _has_database():
        return None
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return ask()
    except SQLAlchemyError as error:
        raise ConfigurationError(
            f"Airflow's metadata database cannot be asked: {type(error).__name__}",
            advice="Correct [database] sql_alchemy_conn, or set AIRFLOW_CONN_<ID> or AIRFLOW_VAR_<NAME> instead.",
        ) from error


def _has_database() -> bool:
    """Whether a metadata database was set up; a look at an SQLite file that is not there would make an empty one."""
    from airflow.configuration import conf
    from sqlalchemy.engine import make_url

    url = make_url(conf.get("database", "sql_alchemy_conn"))
    return url.get_backend_name() != "sqlite" or (bool(url.database) and Path(str(url.database)).exists())
