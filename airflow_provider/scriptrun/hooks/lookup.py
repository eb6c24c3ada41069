"""Where Airflow keeps connections and variables: asked in a task through the task SDK, else in the environment, the
secrets backends and, where there is one, the metadata database.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from airflow_provider.scriptrun.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")


class Found(Protocol):
    """What an Airflow connection has, whether the task SDK or the metadata database gave it."""

    conn_id: Any
    conn_type: Any
    host: Any
    port: Any
    login: Any
    password: Any
    schema: Any
    extra: Any


def in_task() -> bool:
    """Whether this process is one of Airflow's task runners, where the task SDK answers everything."""
    return getattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS", None) is not None


def connection(connection_id: str) -> Found | None:
    """Return a connection, or ``None``. Raises ``AirflowRuntimeError`` while the API server is away."""
    return _sdk_connection(connection_id) or _stored_connection(connection_id)


def _sdk_connection(connection_id: str) -> Found | None:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found: Found = BaseHook.get_connection(connection_id)
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


def _stored_connection(connection_id: str) -> Found | None:
    def ask() -> Found | None:
        from airflow.models.connection import Connection
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            found: Found = Connection.get_connection_from_secrets(connection_id)
        except AirflowNotFoundException:
            return None
        return found

    return _ask_database(ask)


def variable(name: str) -> str | None:
    """Return a variable's value, or ``None``. Raises ``AirflowRuntimeError`` while the API server is away."""
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
