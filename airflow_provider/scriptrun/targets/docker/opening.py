"""From a connection to the target whose runs are containers."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider.scriptrun.environments.credentials import spellings
from airflow_provider.scriptrun.targets import connection_fields as fields
from airflow_provider.scriptrun.targets.docker import proxies
from airflow_provider.scriptrun.targets.docker.dial import CommandDial, Dial, TcpDial, UnixDial
from airflow_provider.scriptrun.targets.docker.settings import OWN_SOCKET, DockerConnection
from airflow_provider.scriptrun.targets.docker.target import DockerTarget
from airflow_provider.scriptrun.targets.remembered import RememberedHosts

if TYPE_CHECKING:
    from airflow_provider.scriptrun.targets.surroundings import ConnectionLike, TargetSurroundings


def open_docker(
    connection: ConnectionLike, surroundings: TargetSurroundings, host_id: str | None, version: str | None
) -> DockerTarget:
    """Return the target of a connection, the credentials in whose proxies the masker knows by then.

    Nothing is contacted yet. Raises :class:`ConfigurationError`.
    """
    read = DockerConnection.read(connection)
    for text in spellings(proxies.credentials(read.proxies)):
        surroundings.mask(text)
    return DockerTarget(
        read,
        dial(read, surroundings),
        read.whole_registry(surroundings.connection),
        RememberedHosts(surroundings.settings.cache_directory),
        host_id=host_id,
        version=version,
    )


def open_docker_over_ssh(
    connection: ConnectionLike, surroundings: TargetSurroundings, host_id: str | None, version: str | None
) -> DockerTarget:
    """Return the target of the engine on the machine that an SSH connection leads to: with the usual base image and
    volume, over that very connection, and with what it says of variables and of runs at once.

    Its ``interpreter`` and ``root`` are about the machine, and no image's.
    """
    read = DockerConnection(
        name=connection.id,
        ssh_connection=connection.id,
        variables=fields.variables(connection),
        max_runs=fields.max_runs(connection),
    )
    remembered = RememberedHosts(surroundings.settings.cache_directory)
    return DockerTarget(read, dial(read, surroundings), None, remembered, host_id=host_id, version=version)


def dial(connection: DockerConnection, surroundings: TargetSurroundings) -> Dial:
    """Return the way to the engine of a connection."""
    if connection.ssh_connection:
        from airflow_provider.scriptrun.targets.transports.ssh import SshTransport

        transport = SshTransport(surroundings.ssh(connection.ssh_connection))
        return CommandDial(transport, None if connection.url == OWN_SOCKET else connection.url)
    parts = urlsplit(connection.url)
    if parts.scheme == "unix":
        return UnixDial(parts.path)
    return TcpDial(parts.hostname or "", parts.port or 0, connection.tls)
