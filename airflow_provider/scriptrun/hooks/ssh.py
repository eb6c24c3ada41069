"""From an Airflow connection to an SSH connection that has logged in: read by the SSH provider's own hook."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import paramiko
from airflow.providers.ssh.hooks.ssh import SSHHook
from airflow.sdk.exceptions import AirflowException

from airflow_provider.scriptrun.errors import ConfigurationError
from airflow_provider.scriptrun.hooks.ssh_errors import UnknownHostKey, explained, unreadable_key
from airflow_provider.scriptrun.hooks.ssh_transport import transport_factory
from airflow_provider.scriptrun.supervisor.protocol.canonical import canonical_json, digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider.scriptrun.runs.surroundings import ConnectionFields

#: What of a ``scriptrun_ssh`` connection's extras is the SSH provider's to read, under its own names.
PROVIDER_FIELDS = frozenset({"key_file", "private_key", "host_key", "no_host_key_check", "conn_timeout"})
#: A machine that is there accepts a connection in far less, over any network; one that is not answers nothing.
CONNECT_TIMEOUT_S = 10.0
#: From the accepted connection to the server's first line: sshd may look up names first.
BANNER_TIMEOUT_S = 30.0
AUTHENTICATION_TIMEOUT_S = 30.0
#: So often something goes over a quiet connection, so that no firewall between forgets it.
KEEPALIVE_S = 30
#: Where paramiko's own lines go: its connects and tracebacks are no news for a task's log.
LOGGER = "airflow_provider.scriptrun.paramiko"
logging.getLogger(LOGGER).setLevel(logging.CRITICAL)


class SshDialer:
    """Connects to the host of one Airflow connection, through others where it says so. Holds its secrets in memory.

    :param hops: the machines to go through, the first one first.
    :raises ConfigurationError: a field of the connection is wrong.
    """

    def __init__(self, connection: ConnectionFields, hops: Sequence[SshDialer] = ()) -> None:
        self._connection, self._hops = connection, tuple(hops)
        hook = self._hook()
        self.host = f"{hook.username}@{hook.remote_host}:{hook.port}"
        self.identity: str = digest(canonical_json([_plain(connection), *(hop.identity for hop in hops)]))

    def dial(self) -> paramiko.Transport:
        """Return a new connection, logged in.

        Raises :class:`TargetUnreachableError` when the host does not answer, :class:`TargetRefusedError` when its key
        is not the expected one, or it does not let us in, :class:`ConfigurationError` for a key that cannot be read.
        """
        made: list[paramiko.Transport] = []
        before = None
        try:
            for dialer in (*self._hops, self):
                made.append(dialer.connect(made[-1] if made else None, before))
                before = dialer.connection_id
        except BaseException:
            for transport in reversed(made):
                transport.close()
            raise
        *hops, transport = made
        _close_with(transport, hops)
        return transport

    @property
    def connection_id(self) -> str:
        """For messages: whose fields lead there."""
        return self._connection.id

    def connect(self, through: paramiko.Transport | None, before: str | None = None) -> paramiko.Transport:
        """Return a new connection to this host alone, over a channel of ``through`` where that is given.

        :param before: for messages: the id of the connection that ``through`` was made from.
        """
        hook = self._hook()
        with explained(self._connection.id, self.host, hook.remote_host, before):
            return _connect(hook, self._known_hosts(), self._dial_socket(hook, through), self._is_ours)

    @property
    def _is_ours(self) -> bool:
        return self._connection.type == "scriptrun_ssh"

    def _hook(self) -> SSHHook:
        connection = self._connection
        extra = {
            name: value
            for name, value in connection.extra.items()
            if (name in PROVIDER_FIELDS or not self._is_ours) and value not in (None, "")
        }
        passphrase = connection.extra.get("private_key_passphrase") or None
        key_file = extra.pop("key_file", None)
        try:
            if key_file:
                text = _read_key(connection.id, str(key_file))
                # An ``ssh`` connection's key may have a certificate beside it, and its password as the passphrase.
                extra.update({"private_key": text} if self._is_ours or passphrase else {"key_file": key_file})
            if passphrase:
                extra["private_key_passphrase"] = passphrase
            return _Hook(connection, extra)
        except (AirflowException, ValueError, TypeError, paramiko.SSHException) as error:
            if "cannot be read by paramiko" in str(error):
                raise unreadable_key(connection.id, str(error)) from None
            raise ConfigurationError(f"The connection {connection.id} cannot be used", why=str(error)) from None

    def _known_hosts(self) -> Path | None:
        path = self._connection.extra.get("known_hosts") if self._is_ours else None
        if not path:
            return None
        if not Path(path).expanduser().is_file():
            raise ConfigurationError(
                f"The connection {self._connection.id}: there is no file {path}, its known_hosts",
                advice="Correct the path, or put the host's own key into host_key.",
            )
        return Path(path).expanduser()

    def _dial_socket(self, hook: SSHHook, through: paramiko.Transport | None) -> Any:
        if through is not None:
            address = (hook.remote_host, _port(hook))
            return through.open_channel("direct-tcpip", address, ("127.0.0.1", 0), timeout=_timeout(hook))
        if hook.host_proxy_cmd:
            return hook.host_proxy
        made = socket.create_connection((hook.remote_host, _port(hook)), timeout=_timeout(hook))
        # Else a small message waits for the other side's delayed acknowledgement: 40 ms for each command.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made


class _Hook(SSHHook):
    """The SSH provider's hook, which reads what we have looked up already."""

    def __init__(self, connection: ConnectionFields, extra: dict[str, Any]) -> None:
        self._found = SimpleNamespace(
            login=connection.login,
            password=connection.password,
            host=connection.host,
            port=connection.port,
            extra=json.dumps(extra),
            extra_dejson=extra,
        )
        super().__init__(ssh_conn_id=connection.id)
        if connection.type == "scriptrun_ssh":
            self.no_host_key_check = str(extra.get("no_host_key_check", False)).lower() == "true"
            # A server counts every key that is tried, and hangs up after a few.
            self.look_for_keys = not (self.pkey or self.password)
            self.keepalive_interval = int(connection.extra.get("keepalive_interval") or KEEPALIVE_S)

    def get_connection(self, _connection_id: str) -> Any:  # type: ignore[override]  # what it reads of a connection
        """Return what was looked up."""
        return self._found


def _connect(hook: SSHHook, known_hosts: Path | None, sock: Any, is_ours: bool) -> paramiko.Transport:
    """Do what ``SSHHook.get_conn`` does, with our socket, known hosts and ciphers, and uncompressed."""
    client = paramiko.SSHClient()
    client.set_log_channel(LOGGER)
    _set_host_keys(client, hook, known_hosts)
    try:
        client.connect(
            hook.remote_host,
            port=_port(hook),
            username=hook.username,
            password=hook.password.strip() if hook.password else None,
            pkey=hook.pkey,
            key_filename=hook.key_file,
            sock=sock,
            look_for_keys=hook.look_for_keys,
            allow_agent=hook.look_for_keys or not is_ours,
            timeout=_timeout(hook),
            banner_timeout=BANNER_TIMEOUT_S,
            auth_timeout=hook.auth_timeout or AUTHENTICATION_TIMEOUT_S,
            channel_timeout=BANNER_TIMEOUT_S,
            disabled_algorithms=hook.disabled_algorithms,
            compress=False,  # what helps to be compressed is, before it comes here
            transport_factory=transport_factory(hook.ciphers),
        )
        transport = client.get_transport()
    except BaseException:
        with contextlib.suppress(Exception):
            sock.close()
        client.close()
        raise
    if transport is None:
        raise paramiko.SSHException("the connection was closed at once")
    transport.set_keepalive(hook.keepalive_interval)
    return transport


def _set_host_keys(client: paramiko.SSHClient, hook: SSHHook, known_hosts: Path | None) -> None:
    if hook.allow_host_key_change:
        client.set_missing_host_key_policy(paramiko.MissingHostKeyPolicy())
        return
    if hook.no_host_key_check:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        return
    client.set_missing_host_key_policy(UnknownHostKey())
    if hook.host_key is not None:
        name = hook.remote_host if hook.port == paramiko.config.SSH_PORT else f"[{hook.remote_host}]:{hook.port}"
        client.get_host_keys().add(name, hook.host_key.get_name(), hook.host_key)
        return
    if known_hosts is not None:
        client.load_system_host_keys(str(known_hosts))
    client.load_system_host_keys()


def _port(hook: SSHHook) -> int:
    return int(hook.port or paramiko.config.SSH_PORT)


def _timeout(hook: SSHHook) -> float:
    return float(hook.conn_timeout or CONNECT_TIMEOUT_S)


def _close_with(transport: paramiko.Transport, hops: Sequence[paramiko.Transport]) -> None:
    """Close the connections that ``transport`` goes through when it is closed, whoever closes it."""
    if not hops:
        return
    close_alone = transport.close

    def close() -> None:
        close_alone()
        for hop in reversed(hops):
            hop.close()

    transport.close = close  # type: ignore[method-assign]


def _read_key(connection_id: str, path: str) -> str:
    try:
        return Path(path).expanduser().read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"The connection {connection_id}: its key_file {path} cannot be read on this host",
            why=getattr(error, "strerror", None) or str(error),
            advice="Every worker needs the file, readable by its user; or put the key itself into private_key.",
        ) from None


def _plain(connection: ConnectionFields) -> list[Any]:
    return [
        connection.type,
        connection.host,
        connection.port,
        connection.login,
        connection.password,
        json.dumps(dict(connection.extra), sort_keys=True, default=str),
    ]
