"""From a name to a target: ``local``, or an Airflow connection id, by the type of that connection."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import ConfigurationError, NotSupportedError, OtherHostError
from airflow_provider.scriptrun.targets.sessions import is_spoken

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider.scriptrun.targets.contract import ComputeTarget
    from airflow_provider.scriptrun.targets.handle import Handle
    from airflow_provider.scriptrun.targets.surroundings import ConnectionLike, TargetSurroundings

    #: Makes the target that a connection describes: (connection, surroundings, host id or None, version or None).
    Opener = Callable[[ConnectionLike, TargetSurroundings, str | None, str | None], ComputeTarget]

#: The target that needs no connection: the host that the worker runs on.
LOCAL = "local"
#: What the extras of a ``scriptrun_ssh`` connection may hold: the names of the SSH provider where it has them.
SSH_FIELDS = (
    "private_key",
    "key_file",
    "private_key_passphrase",
    "host_key",
    "known_hosts",
    "no_host_key_check",
    "jump_hosts",
    "keepalive_interval",
    "conn_timeout",
    "root",
    "interpreter",
    "max_runs",
    "environment_variables",
)


def open_target(
    name: str, surroundings: TargetSurroundings, *, host_id: str | None = None, version: str | None = None
) -> ComputeTarget:
    """Return the target that ``name`` (``local``, or an Airflow connection id) stands for; nothing is contacted yet.

    :param host_id: of the host that it must be: every verb raises :class:`OtherHostError` on another one.
    :param version: the supervisor that started the run which this is about.
    :raises ConfigurationError: there is no such connection, its type is no target's, or one of its fields is wrong.
    :raises NotSupportedError: its type is a target's that this release does not have yet.
    """
    if name == LOCAL:
        return _open_own_host(surroundings, host_id, version)
    connection = surroundings.connection(name)
    opener = _OPENERS.get(connection.type)
    if opener is None:
        raise _unknown(connection)
    return opener(connection, surroundings, host_id, version)


def open_handle(handle: Handle, surroundings: TargetSurroundings) -> ComputeTarget:
    """Return the target on which the run of ``handle`` is, held to the host and the root that it was started on.

    Raises what :func:`open_target` raises, and :class:`OtherHostError` when the connection now names another root.
    """
    version = handle.supervisor if is_spoken(handle.protocol) else None
    target = open_target(handle.connection, surroundings, host_id=handle.host_id or None, version=version)
    if target.root != handle.root:
        target.close()
        raise OtherHostError(
            f"Run {handle.run_id} is under {handle.root}, and {handle.connection} now leads to {target.root}",
            advice=f"Was the connection edited? Give it the root {handle.root} again to come back to the run.",
        )
    return target


def register(connection_type: str, opener: Opener) -> None:
    """Add a target of one's own: ``opener`` makes it from a connection of this type. Replaces what was there."""
    _OPENERS[connection_type] = opener


def connection_types() -> tuple[str, ...]:
    """Return the types of connection that name a target."""
    return tuple(sorted(_OPENERS))


def _unknown(connection: ConnectionLike) -> ConfigurationError:
    from difflib import get_close_matches

    where = f"The connection {connection.id} is of type {connection.type!r}"
    if connection.type in _LATER:
        return NotSupportedError(f"{where}: this target is not there yet", advice="Use the target local for now.")
    known = connection_types()
    close = get_close_matches(connection.type, known, n=1)
    return ConfigurationError(
        f"{where}, which is no compute target",
        advice=f"Did you mean {close[0]}?" if close else f"Types of compute targets are {', '.join(known)}.",
    )


def _open_own_host(surroundings: TargetSurroundings, host_id: str | None, version: str | None) -> ComputeTarget:
    from airflow_provider.scriptrun.targets.local import LocalTarget

    settings = surroundings.settings
    return LocalTarget(
        settings.local_root,
        settings.local_interpreter or None,
        inherit=_names(settings.inherit_variables),
        host_id=host_id,
        version=version,
    )


def _open_local(
    connection: ConnectionLike, surroundings: TargetSurroundings, host_id: str | None, version: str | None
) -> ComputeTarget:
    from airflow_provider.scriptrun.targets.local import LocalTarget

    _refuse_unknown(connection, ("root", "interpreter", "max_runs", "environment_variables"))
    settings = surroundings.settings
    return LocalTarget(
        _text(connection, "root") or settings.local_root,
        _text(connection, "interpreter") or settings.local_interpreter or None,
        name=connection.id,
        inherit=_names(settings.inherit_variables),
        variables=_variables(connection),
        max_runs=_max_runs(connection),
        host_id=host_id,
        version=version,
    )


def _open_ssh(
    connection: ConnectionLike, surroundings: TargetSurroundings, host_id: str | None, version: str | None
) -> ComputeTarget:
    from airflow_provider.scriptrun.targets.remembered import RememberedHosts
    from airflow_provider.scriptrun.targets.ssh import DEFAULT_INTERPRETER, DEFAULT_ROOT, SshTarget

    if connection.type == "scriptrun_ssh":  # an Airflow ``ssh`` connection may hold whatever else is for others
        _refuse_unknown(connection, SSH_FIELDS)
    if not connection.host:
        raise ConfigurationError(f"The connection {connection.id} names no host")
    return SshTarget(
        surroundings.ssh(connection.id),
        RememberedHosts(surroundings.settings.cache_directory),
        name=connection.id,
        root=_remote_root(connection) or DEFAULT_ROOT,
        interpreter=_text(connection, "interpreter") or DEFAULT_INTERPRETER,
        variables=_variables(connection),
        max_runs=_max_runs(connection),
        host_id=host_id,
        version=version,
    )


def _remote_root(connection: ConnectionLike) -> str | None:
    root = _text(connection, "root")
    if root is None:
        return None
    if not root.startswith(("/", "~/")) or "\n" in root or "\0" in root:
        raise ConfigurationError(
            f"The connection {connection.id}: root is {root!r:.200}, which is no absolute path",
            advice="Write it from / or from ~/, the user's home folder there.",
        )
    return root.rstrip("/") or "/"


def _refuse_unknown(connection: ConnectionLike, known: tuple[str, ...]) -> None:
    from difflib import get_close_matches

    for name in connection.extra:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            raise ConfigurationError(
                f"The connection {connection.id}: {name!r:.100} is no field of a {connection.type} connection",
                advice=(f"Did you mean {close[0]}? " if close else "") + f"There are {', '.join(known)}.",
            )


def _text(connection: ConnectionLike, field: str) -> str | None:
    value = connection.extra.get(field)
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"The connection {connection.id}: {field} must be a text, not {value!r:.100}")
    return value or None


def _names(text: str) -> tuple[str, ...]:
    return tuple(re.split(r"[,\s]+", text.strip(", \t\n"))) if text.strip(", \t\n") else ()


def _max_runs(connection: ConnectionLike) -> int | None:
    value = connection.extra.get("max_runs")
    if isinstance(value, str) and value.strip().isdigit():  # a form may send it as a text
        value = int(value)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise ConfigurationError(
            f"The connection {connection.id}: max_runs must be a number from 0, not {value!r:.100}"
        )
    return value or None


def _variables(connection: ConnectionLike) -> dict[str, str]:
    value = connection.extra.get("environment_variables") or {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, Mapping) or not all(isinstance(part, str) for item in value.items() for part in item):
        raise ConfigurationError(
            f"The connection {connection.id}: environment_variables must be a JSON object of texts",
            advice='Write for instance {"OMP_NUM_THREADS": "4"}',
        )
    return dict(value)


#: Type of connection -> how its target is made.
_OPENERS: dict[str, Opener] = {"scriptrun_local": _open_local, "scriptrun_ssh": _open_ssh, "ssh": _open_ssh}
#: Types of connection that later releases make targets of.
_LATER = frozenset({"docker", "scriptrun_docker", "scriptrun_slurm", "scriptrun_spark"})
