"""What a ``scriptrun_docker`` connection says: which engine, how to get at it, and what its containers are given."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from airflow_provider.scriptrun.config import docker_values
from airflow_provider.scriptrun.config.wrong import Wrong, closest
from airflow_provider.scriptrun.errors import ConfigurationError
from airflow_provider.scriptrun.targets import connection_fields as fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider.scriptrun.targets.surroundings import ConnectionLike

    Value = TypeVar("Value")

CONNECTION_TYPE = "scriptrun_docker"
#: The Docker provider's type of connection: the login to a registry.
REGISTRY_LOGIN = "docker"
#: What the extras of the connection may hold; host, port, login and password are the connection's own.
DOCKER_FIELDS = (
    "ssh_connection",
    "tls_ca_file",
    "tls_cert_file",
    "tls_key_file",
    "tls_verify",
    "tls_hostname",
    "registry",
    "registry_connection",
    "share_environments",
    "base_image",
    "volume",
    "interpreter",
    "network",
    "cpus",
    "memory",
    "max_runs",
    "environment_variables",
    "index_url",
    "ca_file",
    "proxies",
)
OWN_SOCKET = "unix:///var/run/docker.sock"
DEFAULT_BASE_IMAGE = "python:3.11-slim"
DEFAULT_VOLUME = "scriptrun"
DEFAULT_INTERPRETER = "python3"
#: The registry that is meant where an image names none.
DOCKER_HUB = "docker.io"
#: Docker's own ports (IANA: docker, docker-s).
PLAIN_PORT, TLS_PORT = 2375, 2376
_PROXIES = {"http": "HTTP_PROXY", "https": "HTTPS_PROXY", "no": "NO_PROXY"}
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Tls:
    """How a TCP engine proves who it is, and we who we are. Paths are on every worker.

    :param ca_file: certificates to trust; ``None``: the system's.
    :param cert_file: ours, with ``key_file``; ``None``: we have none.
    :param hostname: the name in the engine's certificate, where it is not the one that is dialled.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True
    hostname: str | None = None


@dataclass(frozen=True)
class Registry:
    """Where images are pulled from and pushed to.

    :param address: ``registry.example.com:5000``, with a path behind it where images have one in common.
    """

    address: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """The address without a path: what a login is for."""
        return self.address.partition("/")[0]


@dataclass(frozen=True)
class DockerConnection:
    """A ``scriptrun_docker`` connection as plain values.

    :param name: the connection's id.
    :param url: ``unix://<path>`` or ``tcp://<host>:<port>`` of the engine; with ``ssh_connection``, the socket on that
        machine.
    :param ssh_connection: id of the SSH connection to the engine's machine; ``None``: the engine is reached directly.
    :param tls: ``None``: no TLS.
    :param registry: ``None``: none, or the one of ``registry_connection``; :meth:`whole_registry` has the outcome.
    :param registry_connection: id of an Airflow ``docker`` connection with the login.
    :param share_environments: whether to, where a registry is named; see :attr:`shares_environments`.
    :param base_image: what environments without an image are made from.
    :param volume: the engine's volume that holds everything of ours, and begins the names of containers.
    :param interpreter: the Python in images.
    :param limits: options of every container, under the names of ``config/docker_arguments.py``; a request's own win.
    :param variables: for every script.
    :param max_runs: how many runs execute at once; ``None``: no limit.
    :param index_url: the package index for builds; ``None``: ``[scriptrun] index_url``. May hold credentials.
    :param ca_file: PEM file on the worker for builds; ``None``: ``[scriptrun] ca_file``.
    :param proxies: variables for builds and runs, in both cases (``HTTP_PROXY``, ``http_proxy``). May hold credentials.
    """

    name: str
    url: str = OWN_SOCKET
    ssh_connection: str | None = None
    tls: Tls | None = None
    registry: Registry | None = None
    registry_connection: str | None = None
    share_environments: bool = True
    base_image: str = DEFAULT_BASE_IMAGE
    volume: str = DEFAULT_VOLUME
    interpreter: str = DEFAULT_INTERPRETER
    limits: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    max_runs: int | None = None
    index_url: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, connection: ConnectionLike) -> DockerConnection:
        """Return what a connection says; no file is looked at. Raises :class:`ConfigurationError` naming the field."""
        fields.refuse_unknown(connection, DOCKER_FIELDS)
        url, ssh_connection = _engine(connection)
        tls = _tls(connection, url)
        if url.startswith("tcp://"):
            url = _with_port(connection, url, TLS_PORT if tls else PLAIN_PORT)
        return cls(
            name=connection.id,
            url=url,
            ssh_connection=ssh_connection,
            tls=tls,
            registry=_registry(connection),
            registry_connection=fields.text(connection, "registry_connection"),
            share_environments=_truth(connection, "share_environments") is not False,
            base_image=_matching(connection, "base_image", r"[A-Za-z0-9][\w.:/@-]*", "python:3.11-slim")
            or DEFAULT_BASE_IMAGE,
            volume=_matching(connection, "volume", r"[A-Za-z0-9][\w.-]+", DEFAULT_VOLUME) or DEFAULT_VOLUME,
            interpreter=_matching(connection, "interpreter", r"/\S+|[\w.-]+", "/usr/bin/python3")
            or DEFAULT_INTERPRETER,
            limits=_limits(connection),
            variables=fields.variables(connection),
            max_runs=fields.max_runs(connection),
            index_url=fields.text(connection, "index_url"),
            ca_file=fields.text(connection, "ca_file"),
            proxies=_proxies(connection),
        )

    @property
    def shares_environments(self) -> bool:
        """Whether engines share environments that were built: in the registry that this connection itself names.

        Docker Hub without a path is nobody's own, and a login alone names no place for them.
        """
        return self.share_environments and self.registry is not None and self.registry.address != DOCKER_HUB

    def whole_registry(self, look_up: Callable[[str], ConnectionLike]) -> Registry | None:
        """Return the registry with its login, which another connection may hold; ``None``: there is none.

        :param look_up: returns an Airflow connection by its id.
        :raises ConfigurationError: that connection is not there, or of another type.
        """
        if self.registry_connection is None:
            return self.registry
        login = registry_of(look_up(self.registry_connection), whose=self.name)
        if self.registry is None:
            return login
        if self.registry.host != login.host:
            raise ConfigurationError(
                f"The connection {self.name}: registry is {self.registry.address}, and its registry_connection "
                f"{self.registry_connection} is a login to {login.address}",
                advice="Leave registry empty, or name the connection with its login.",
            )
        return Registry(self.registry.address, login.username, login.password)


def registry_of(connection: ConnectionLike, *, whose: str | None = None) -> Registry:
    """Return the registry that an Airflow ``docker`` connection is the login of, as the Docker provider reads it.

    :param whose: for messages: the connection that names it.
    """
    if connection.type != REGISTRY_LOGIN:
        named = f"The connection {whose}: its registry_connection" if whose else "The connection"
        raise ConfigurationError(
            f"{named} {connection.id} is of type {connection.type!r}, and not {REGISTRY_LOGIN}",
            advice="Name an Airflow connection of type docker: the registry's address, a login and a password.",
        )
    if not connection.host:
        raise ConfigurationError(f"The connection {connection.id} names no registry", advice="Write it as its host.")
    address = _address(connection, "host", connection.host)
    if connection.port:
        host, slash, path = address.partition("/")
        address = f"{host}:{connection.port}{slash}{path}"
    return Registry(address, connection.login, connection.password)


def _wrong(connection: ConnectionLike, name: str, what: str, advice: str | None = None) -> ConfigurationError:
    return ConfigurationError(f"The connection {connection.id}: {name} {what}", advice=advice)


def _engine(connection: ConnectionLike) -> tuple[str, str | None]:
    """Return the engine's URL, without a port where none was written, and the SSH connection to its machine."""
    host = (connection.host or "").strip()
    ssh = fields.text(connection, "ssh_connection")
    scheme, is_url, rest = host.partition("://")
    if not is_url and host:
        scheme, rest = ("unix", host) if host.startswith("/") else ("tcp", host)
    if scheme == "ssh":
        if ssh and ssh != rest:
            raise _wrong(connection, "host", f"names the SSH connection {rest}, and ssh_connection {ssh}", "Keep one.")
        if not rest or "@" in rest or "/" in rest:
            raise _wrong(
                connection,
                "host",
                f"is {host!r:.200}, and an Airflow connection's id is to stand behind ssh://",
                "Make a connection of type scriptrun_ssh (or ssh) to that machine, and write its id.",
            )
        return OWN_SOCKET, rest
    if scheme == "tcp" and ssh:
        advice = "Write host=unix:///path/of/the/socket on that machine, or leave it empty for Docker's own."
        raise _wrong(connection, "host", f"is {host!r:.200}, and ssh_connection leads to a socket", advice)
    if scheme == "unix":
        return f"unix://{_socket(connection, rest)}", ssh
    if scheme == "tcp":
        return f"tcp://{rest.rstrip('/')}", None
    if host:
        raise _wrong(
            connection,
            "host",
            f"is {host!r:.200}, which is no Docker engine's address",
            "Write unix:///var/run/docker.sock, tcp://host:2376 or ssh://<id of an SSH connection>.",
        )
    return OWN_SOCKET, ssh


def _socket(connection: ConnectionLike, path: str) -> str:
    if not path.startswith("/"):
        advice = f"Three slashes: unix:///{path}."
        raise _wrong(connection, "host", f"is 'unix://{path:.200}', which is no absolute path", advice)
    return path


def _with_port(connection: ConnectionLike, url: str, usual: int) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.path or parts.username or parts.query or parts.fragment:
        raise _wrong(connection, "host", f"is {url!r:.200}, which is no host and port", "Write tcp://host:2376.")
    if port and connection.port and port != connection.port:
        raise _wrong(connection, "port", f"is {connection.port}, and host says {port}", "Keep one of the two.")
    name = f"[{host}]" if ":" in host else host
    return f"tcp://{name}:{port or connection.port or usual}"


def _tls(connection: ConnectionLike, url: str) -> Tls | None:
    ca, cert, key, hostname = (
        fields.text(connection, f"tls_{name}") for name in ("ca_file", "cert_file", "key_file", "hostname")
    )
    verify = _truth(connection, "tls_verify")
    is_tcp = url.startswith("tcp://")
    if not (ca or cert or key or hostname):
        return Tls() if is_tcp and verify else None  # a form may say "verify" of whatever engine
    if not is_tcp:
        raise _wrong(connection, "tls_* fields", f"are for an engine at tcp://, and this one is at {url}")
    if bool(cert) != bool(key):
        given, lacking = ("tls_cert_file", "tls_key_file") if cert else ("tls_key_file", "tls_cert_file")
        raise _wrong(connection, given, f"is there without {lacking}", "Name both: a certificate and its key.")
    if verify is False and (ca or hostname):
        name = "tls_ca_file" if ca else "tls_hostname"
        raise _wrong(connection, "tls_verify", f"is false, and {name} has no meaning then", "Keep one of the two.")
    return Tls(ca, cert, key, verify is not False, hostname)


def _truth(connection: ConnectionLike, name: str) -> bool | None:
    value = connection.extra.get(name)
    if value is None or value == "" or isinstance(value, bool):
        return None if value == "" else value
    found = _TRUTHS.get(str(value).lower())
    if found is None:
        raise _wrong(connection, name, f"must be true or false, not {value!r:.100}")
    return found


def _registry(connection: ConnectionLike) -> Registry | None:
    written, login, password = fields.text(connection, "registry"), connection.login, connection.password
    if bool(login) != bool(password):
        given, lacking = ("login", "password") if login else ("password", "login")
        raise _wrong(connection, given, f"is there without a {lacking}", "They are the registry's: write both.")
    if login and fields.text(connection, "registry_connection"):
        raise _wrong(connection, "login", "is there, and registry_connection has one, too", "Keep one of the two.")
    if written is None:
        return Registry(DOCKER_HUB, login, password) if login else None
    return Registry(_address(connection, "registry", written), login, password)


def _address(connection: ConnectionLike, name: str, written: str) -> str:
    """Return a registry's address as it stands in front of an image's name; what Docker Hub is called is one name."""
    address = re.sub(r"^https?://", "", written.strip()).rstrip("/")
    if re.fullmatch(r"(index\.)?docker\.io(/v[12])?|registry-1\.docker\.io", address):
        return DOCKER_HUB
    if not re.fullmatch(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:\d+)?(/[a-z0-9][a-z0-9._/-]*)?", address):
        advice = "Write for instance registry.example.com:5000, or registry.example.com/team."
        raise _wrong(connection, name, "is no registry's address", advice)  # which may hold a password
    return address


def _matching(connection: ConnectionLike, name: str, pattern: str, example: str) -> str | None:
    value = fields.text(connection, name)
    if value is not None and not re.fullmatch(pattern, value):
        raise _wrong(connection, name, f"cannot be {value!r:.100}", f"Write for instance {example}.")
    return value


def _limits(connection: ConnectionLike) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    network = _matching(connection, "network", r"[A-Za-z0-9][\w.-]*(:[A-Za-z0-9][\w.-]*)?", "bridge")
    if network is not None:
        limits["network"] = network
    for name, read in (("cpus", docker_values.cpus), ("memory", docker_values.memory)):
        value = connection.extra.get(name)
        if value is None or value == "":
            continue
        try:
            limits[name] = read(str(value))
        except Wrong as wrong:
            raise _wrong(connection, name, wrong.what, wrong.advice) from None
    return limits


def _proxies(connection: ConnectionLike) -> dict[str, str]:
    found = fields.texts(connection, "proxies", '{"http": "http://proxy:3128", "no": "localhost"}')
    for name in found:
        if name not in _PROXIES:
            raise _wrong(connection, f"proxies has {name!r:.100}", "in it", closest(name, _PROXIES, "There are"))
    return {
        spelling: found[name]
        for name, variable in _PROXIES.items()
        if found.get(name)
        for spelling in (variable, variable.lower())
    }
