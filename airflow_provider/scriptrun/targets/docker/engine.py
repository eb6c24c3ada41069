"""An engine's API as this target uses it: Docker's own client over a way that we dial, with our errors."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider.scriptrun.errors import ConfigurationError, TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.targets.docker.streams import EngineStream, hijack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from docker import APIClient

    from airflow_provider.scriptrun.targets.docker.dial import Dial

Answer = TypeVar("Answer")

#: How long the engine may take for an answer; what builds or moves images streams its progress.
PATIENCE_S = 120.0
#: Everything of ours carries it: which volume, and so which target, it belongs to.
VOLUME_LABEL = "scriptrun.volume"
#: The first API version that mounts a part of a volume.
SUBPATH_API = (1, 45)


class EngineError(TargetRefusedError):
    """The engine answered with an error.

    :param code: the HTTP status: 404 no such thing, 409 a conflict.
    """

    def __init__(self, what: str, *, code: int, why: str | None = None, advice: str | None = None) -> None:
        super().__init__(what, why=why, advice=advice)
        self.code = code


class Engine:
    """One engine. Safe to use from several threads; nothing is contacted before the first call."""

    def __init__(self, dial: Dial) -> None:
        self.name = dial.name
        self._dial = dial
        self._lock = threading.Lock()
        self._client: APIClient | None = None
        self._owner = os.getpid()

    @property
    def api_version(self) -> tuple[int, ...]:
        """The version that both sides speak."""
        return tuple(int(part) for part in self.client().api_version.split("."))

    def client(self) -> APIClient:
        """Return Docker's client. Raises what :meth:`call` does."""
        with self._lock:
            if self._client is None or self._owner != os.getpid():
                from airflow_provider.scriptrun.targets.docker.client import new_client

                self._owner = os.getpid()
                with self._errors("the version"):
                    self._client = new_client(self._dial, PATIENCE_S)
            return self._client

    def call(self, what: str, work: Callable[[APIClient], Answer]) -> Answer:
        """Return ``work(client)``.

        :param what: what is asked for, for messages: "the image x".
        :raises EngineError: the engine refused.
        :raises TargetUnreachableError: it cannot be reached, or the connection broke.
        """
        client = self.client()
        with self._errors(what):
            return work(client)

    def find(self, what: str, work: Callable[[APIClient], Answer]) -> Answer | None:
        """The same; ``None``: there is no such thing."""
        try:
            return self.call(what, work)
        except EngineError as error:
            if error.code == 404:  # Not Found
                return None
            raise

    def image(self, name: str) -> dict[str, Any] | None:
        """Return what the engine says of an image that it has; ``None``: it has none of this name or id."""
        return self.find(f"the image {name}", lambda client: client.inspect_image(name))  # type: ignore[no-untyped-call]

    def container(self, name: str) -> dict[str, Any] | None:
        """Return what the engine says of a container; ``None``: there is none of this name or id."""
        return self.find(f"the container {name}", lambda client: client.inspect_container(name))

    def hijack(self, what: str, path: str, document: Mapping[str, Any] | None = None) -> EngineStream:
        """POST to a path of the API that turns the connection into a two-way stream, and return that."""
        version = self.client().api_version
        with self._errors(what):
            return hijack(self._dial.dial(), f"/v{version}{path}", document)

    def close(self) -> None:
        """Close all connections. Safe to call twice."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None and self._owner == os.getpid():
            client.close()
        self._dial.close()

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        from docker.errors import APIError, DockerException
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except APIError as error:
            code = error.status_code or 0
            text = (error.explanation or str(error)).strip()
            raise EngineError(f"{self._name()} refused {what}", code=code, why=text[:2000]) from None
        except (RequestException, HTTPError, TimeoutError, ConnectionError) as error:
            raise (
                _from_chain(error)
                or self._dial.trouble()
                or TargetUnreachableError(f"{self._name()} could not be asked for {what}", why=_reason(error))
            ) from None
        except DockerException as error:
            raise TargetRefusedError(f"{self._name()} cannot be used", why=str(error)[:2000]) from None

    def _name(self) -> str:
        return self.name[:1].upper() + self.name[1:]


def _from_chain(error: BaseException | None) -> Exception | None:
    """Return the error of ours that a library has wrapped: what dialing said."""
    seen = 0
    while error is not None and seen < 10:  # no library wraps deeper
        if isinstance(error, (TargetUnreachableError, TargetRefusedError, ConfigurationError)):
            return error
        error = error.__cause__ or error.__context__
        seen += 1
    return None


def _reason(error: Exception) -> str:
    return str(error)[:500] or type(error).__name__
