"""From a name to a target: ``local``, or an Airflow connection id, by the type of that connection."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import ConfigurationError, NotSupportedError, OtherHostError
from airflow_provider.scriptrun.targets import connection_fields as fields
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
#: The type of connection that names an engine.
DOCKER = "scriptrun_docker"
#: How the id of an engine's volume begins, see ``docker/keeper.py``.
ENGINE_ID = "docker-"
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
    name: str,
    surroundings: TargetSurroundings,
    *,
    host_id: str | None = None,
    version: str | None = None,
    in_container: bool = False,
) -> ComputeTarget:
    """Return the target that ``name`` (``local``, or an Airflow connection id) stands for; nothing is contacted yet.

    :param host_id: of the host that it must be: every verb raises :class:`OtherHostError` on another one. The id of an
        engine leads to containers, whatever ``in_container`` says.
    :param version: the supervisor that started the run which this is about.
    :param in_container: a container is asked for: a connection to a machine over SSH leads to the engine there.
    :raises ConfigurationError: there is no such connection, its type is no target's, or one of its fields is wrong.
    :raises NotSupportedError: its type is a target's that this release does not have yet.
    """
    if name == LOCAL:
        return _open_own_host(surroundings, host_id, version)
    connection = surroundings.connection(name)
    opener = _OPENERS.get(connection.type)
    if in_container or is_engine(host_id):
        opener = _IN_CONTAINER.get(connection.type, opener)
    if opener is None:
        raise _unknown(connection)
    return opener(connection, surroundings, host_id, version)


def is_engine(host_id: str | None) -> bool:
    """Whether a host's id is that of an engine's volume, and so its runs are containers."""
    return (host_id or "").startswith(ENGINE_ID)


def runs_containers(name: str, surroundings: TargetSurroundings, *, in_container: bool) -> bool:
    """Whether :func:`open_target` returns a target whose runs are containers."""
    if name == LOCAL:
        return False
    kind = surroundings.connection(name).type
    return kind == DOCKER or (in_container and kind in _IN_CONTAINER)


def open_handle(handle: Handle, surroundings: TargetSurroundings) -> ComputeTarget:
    """Return the target on which the run of ``handle`` is, held to the host and the root that it was started on.

    Raises what :func:`open_target` raises, and :class:`OtherHostError` when the connection now names another root.
    """
    version = handle.supervisor if is_spoken(handle.protocol) else None
    target = open_target(
        handle.connection,
        surroundings,
        host_id=handle.host_id or None,
        version=version,
        in_container=handle.target == "docker",
    )
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

    from airflow_provider.scriptrun.targets.docker.settings import REGISTRY_LOGIN

    where = f"The connection {connection.id} is of type {connection.type!r}"
    if connection.type == REGISTRY_LOGIN:
        return ConfigurationError(
            f"{where}: it is the login to a registry of images, and no compute target",
            advice="Make a connection of type scriptrun_docker, which names an engine, and write "
            f"{connection.id} into its field registry_connection.",
        )
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

    fields.refuse_unknown(connection, ("root", "interpreter", "max_runs", "environment_variables"))
    settings = surroundings.settings
    return LocalTarget(
        fields.text(connection, "root") or settings.local_root,
        fields.text(connection, "interpreter") or settings.local_interpreter or None,
        name=connection.id,
        inherit=_names(settings.inherit_variables),
        variables=fields.variables(connection),
        max_runs=fields.max_runs(connection),
        host_id=host_id,
        version=version,
    )


def _open_ssh(
    connection: ConnectionLike, surroundings: TargetSurroundings, host_id: str | None, version: str | None
) -> ComputeTarget:
    from airflow_provider.scriptrun.targets.remembered import RememberedHosts
    from airflow_provider.scriptrun.targets.ssh import DEFAULT_INTERPRETER, DEFAULT_ROOT, SshTarget

    if connection.type == "scriptrun_ssh":  # an Airflow ``ssh`` connection may hold whatever else is for others
        fields.refuse_unknown(connection, SSH_FIELDS)
    if not connection.host:
        raise ConfigurationError(f"The connection {connection.id} names no host")
    return SshTarget(
        surroundings.ssh(connection.id),
        RememberedHosts(surroundings.settings.cache_directory),
        name=connection.id,
        root=_remote_root(connection) or DEFAULT_ROOT,
        interpreter=fields.text(connection, "interpreter") or DEFAULT_INTERPRETER,
        variables=fields.variables(connection),
        max_runs=fields.max_runs(connection),
        host_id=host_id,
        version=version,
    )


def _remote_root(connection: ConnectionLike) -> str | None:
    root = fields.text(connection, "root")
    if root is None:
        return None
    if not root.startswith(("/", "~/")) or "\n" in root or "\0" in root:
        raise ConfigurationError(
            f"The connection {connection.id}: root is {root!r:.200}, which is no absolute path",
            advice="Write it from / or from ~/, the user's home folder there.",
        )
    return root.rstrip("/") or "/"


def _names(text: str) -> tuple[str, ...]:
    return tuple(re.split(r"[,\s]+", text.strip(", \t\n"))) if text.strip(", \t\n") else ()


def _open_docker(
    connection: ConnectionLike, surroundings: TargetSurroundings, host_id: str | None, version: str | None
) -> ComputeTarget:
    from airflow_provider.scriptrun.targets.docker.opening import open_docker

    return open_docker(connection, surroundings, host_id, version)


def _open_docker_over_ssh(
    connection: ConnectionLike, surroundings: TargetSurroundings, host_id: str | None, version: str | None
) -> ComputeTarget:
    from airflow_provider.scriptrun.targets.docker.opening import open_docker_over_ssh

    if connection.type == "scriptrun_ssh":
        fields.refuse_unknown(connection, SSH_FIELDS)
    if not connection.host:
        raise ConfigurationError(f"The connection {connection.id} names no host")
    return open_docker_over_ssh(connection, surroundings, host_id, version)


#: Type of connection -> how its target is made.
_OPENERS: dict[str, Opener] = {
    "scriptrun_local": _open_local,
    "scriptrun_ssh": _open_ssh,
    "ssh": _open_ssh,
    DOCKER: _open_docker,
}
#: The same where a container is asked for, as far as that is another target.
_IN_CONTAINER: dict[str, Opener] = {"scriptrun_ssh": _open_docker_over_ssh, "ssh": _open_docker_over_ssh}
#: Types of connection that later releases make targets of.
_LATER = frozenset({"scriptrun_slurm", "scriptrun_spark"})
