"""Docker's own client, over connections that we dial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docker import APIClient
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.transport.basehttpadapter import BaseHTTPAdapter
from docker.utils.proxy import ProxyConfig
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

if TYPE_CHECKING:
    from airflow_provider.scriptrun.targets.docker.dial import Dial

#: Where the client thinks that the engine is; our adapter dials instead.
_URL = "http+docker://localhost"
_CONNECTIONS = 10


class _Connection(HTTPConnection):
    def __init__(self, dial: Dial, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._dial = dial

    def connect(self) -> None:
        self.sock = self._dial.dial()
        self.sock.settimeout(self.timeout)


class _Pool(HTTPConnectionPool):
    def __init__(self, dial: Dial, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout, maxsize=_CONNECTIONS)
        self._dial, self._seconds = dial, timeout

    def _new_conn(self) -> _Connection:
        return _Connection(self._dial, self._seconds)


class _Adapter(BaseHTTPAdapter):
    def __init__(self, dial: Dial, timeout: float) -> None:
        self._pool = _Pool(dial, timeout)
        super().__init__()

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> _Pool:
        return self._pool

    def get_connection(self, *_: Any, **__: Any) -> _Pool:
        return self._pool

    def request_url(self, request: Any, proxies: Any) -> str:  # noqa: ARG002  # there are none on this way
        url: str = request.path_url
        return url

    def close(self) -> None:
        self._pool.close()


class _Client(APIClient):
    """Says nothing of the worker's user to an engine: no headers, proxies and logins of ``~/.docker/config.json``.

    Docker's client would send all of these logins along with a build, and ``docker inspect`` would show the proxies.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._general_configs: dict[str, Any] = {}
        self._proxy_configs = ProxyConfig()

    def _set_auth_headers(self, headers: dict[str, Any]) -> None:
        pass


def new_client(dial: Dial, version: str, timeout: float) -> APIClient:
    """Return a client that speaks the newest version which both sides know.

    :param version: the newest that the engine speaks.
    """
    version = min(version, DEFAULT_DOCKER_API_VERSION, key=_numbers)
    client = _Client("http+unix:///var/run/docker.sock", version=version, timeout=int(timeout))
    client.trust_env = False
    client.base_url = _URL
    client.mount("http+docker://", _Adapter(dial, timeout))
    return client


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
