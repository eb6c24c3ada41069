"""An engine's API as this target uses it: Docker's own client over a way that we dial, with our errors."""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider.scriptrun.errors import ConfigurationError, TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.targets.docker.raw_http import Refused, execute, hijack, ping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from docker import APIClient

    from airflow_provider.scriptrun.targets.docker.dial import Dial
    from airflow_provider.scriptrun.targets.docker.streams import EngineStream

Answer = TypeVar("Answer")

#: How long the engine may take for an answer; most of what builds or moves images streams its progress.
PATIENCE_S = 120.0
#: The same where it copies a whole image before it says a word.
COPY_PATIENCE_S = 3600.0
#: Everything of ours carries it: which volume, and so which target, it belongs to.
VOLUME_LABEL = "scriptrun.volume"
#: The first API version that mounts a part of a volume.
SUBPATH_API = (1, 45)
BAD_REQUEST = 400
#: What an engine says that is asked in a version of the API that it does not speak.
_OTHER_VERSION = "client version"
#: A limit of a container, and the field of the engine's description that says whether it is held: one that is rootless
#: has no control groups with version 1, and says nothing where a container is made.
_HOLDS = {
    "mem_limit": ("MemoryLimit", "--memory"),
    "nano_cpus": ("CpuCfsQuota", "--cpus"),
    "cpuset_cpus": ("CPUSet", "--cpuset-cpus"),
    "pids_limit": ("PidsLimit", "--pids-limit"),
}
#: What a server with TLS answers, in the clear, to whoever comes without (Go's net/http).
TLS_WANTED = "HTTP request to an HTTPS server"


class EngineError(TargetRefusedError):
    """The engine answered with an error.

    :param code: the HTTP status: 404 no such thing, 409 a conflict.
    """

    def __init__(self, what: str, *, code: int, why: str | None = None, advice: str | None = None) -> None:
        super().__init__(what, why=why, advice=advice)
        self.code = code


class EngineFullError(TargetRefusedError):
    """The disk that the engine keeps its data on is full."""


class Engine:
    """One engine. Safe to use from several threads; nothing is contacted before the first call."""

    def __init__(self, dial: Dial) -> None:
        self.name = dial.name
        self.dial = dial
        self._lock = threading.Lock()
        self._client: APIClient | None = None
        self._owner = os.getpid()
        self._description: dict[str, Any] | None = None
        self._platform: str | None = None
        #: the newest version of the API that it speaks; empty: not known yet
        self.version = ""

    @property
    def api_version(self) -> tuple[int, ...]:
        """The version that both sides speak."""
        return tuple(int(part) for part in self.client().api_version.split("."))

    @property
    def platform(self) -> str:
        """What its machine is, as images are called: ``linux/amd64``. Raises what :meth:`call` does."""
        if self._platform is None:
            version = self.call("its version", lambda client: client.version())
            self._platform = f"{version['Os']}/{version['Arch']}"
        return self._platform

    def restores_live(self) -> bool:
        """Whether its containers go on while it is stopped (live-restore). Raises what :meth:`call` does."""
        return bool(self._described().get("LiveRestoreEnabled"))

    def unheld(self, wanted: Iterable[str]) -> list[str]:
        """Return the options whose limits this engine takes and does not hold. Raises what :meth:`call` does.

        :param wanted: names of a container's host configuration: ``mem_limit``.
        """
        told = self._described()
        known = [_HOLDS[name] for name in wanted if name in _HOLDS]
        return [option for fact, option in known if told.get(fact) is False]

    def _described(self) -> dict[str, Any]:
        if self._description is None:
            self._description = self.call("its description", lambda client: client.info())
        return self._description

    def client(self) -> APIClient:
        """Return Docker's client. Raises what :meth:`call` does."""
        with self._lock:
            if self._client is None or self._owner != os.getpid():
                from airflow_provider.scriptrun.targets.docker.client import new_client

                self._owner = os.getpid()
                version = self._spoken()
                with self._errors("the version"):
                    self._client = new_client(self.dial, version, PATIENCE_S)
            return self._client

    def call(self, what: str, work: Callable[[APIClient], Answer], *, patience_s: float | None = None) -> Answer:
        """Return ``work(client)``.

        :param what: what is asked for, for messages: "the image x".
        :param patience_s: how long the answer may take; ``None``: :data:`PATIENCE_S`.
        :raises EngineError: the engine refused.
        :raises EngineFullError: its disk is full.
        :raises TargetUnreachableError: it cannot be reached, or the connection broke.
        """
        if patience_s is not None:
            return self._call_patiently(what, work, patience_s)
        client = self.client()
        with self._errors(what):
            return work(client)

    def _call_patiently(self, what: str, work: Callable[[APIClient], Answer], patience_s: float) -> Answer:
        from airflow_provider.scriptrun.targets.docker.client import new_client

        version = self._spoken()
        with self._errors(what), contextlib.closing(new_client(self.dial, version, patience_s)) as client:
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
        version = self._spoken()
        with self._errors(what):
            return hijack(self.dial.dial(), f"/v{version}{path}", document)

    def execute(self, container: str, argv: Sequence[str]) -> tuple[str, EngineStream]:
        """Start a command in a container, as root; return the id of the exec, and its streams. Loads no client."""
        what = f"a command in {container}"
        try:
            with self._errors(what):
                return execute(self.dial.dial(), self._spoken(), container, argv)
        except EngineError as error:
            if error.code != BAD_REQUEST or _OTHER_VERSION not in (error.why or ""):
                raise
        self.version = ""  # what was remembered: the engine is an older one now
        with self._errors(what):
            return execute(self.dial.dial(), self._spoken(), container, argv)

    def _spoken(self) -> str:
        if not self.version:
            with self._errors("the version"):
                self.version = ping(self.dial.dial())
        return self.version

    def close(self) -> None:
        """Close all connections. Safe to call twice."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None and self._owner == os.getpid():
            client.close()
        self.dial.close()

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except Refused as error:
            raise self._refused(what, error.code, str(error).strip()) from None
        except (TimeoutError, ConnectionError, ssl.SSLError) as error:
            raise self._unreachable(what, error) from None
        except Exception as error:
            known = self._known(what, error)
            if known is None:
                raise
            raise known from None

    def _known(self, what: str, error: Exception) -> Exception | None:
        """Return our error for one of Docker's client, or of what that uses; ``None``: it is none of those."""
        from docker.errors import APIError, DockerException
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        if isinstance(error, APIError):
            return self._refused(what, error.status_code or 0, (error.explanation or str(error)).strip())
        if isinstance(error, (RequestException, HTTPError)):
            return self._unreachable(what, error)
        if isinstance(error, DockerException):
            return TargetRefusedError(f"{self._name()} cannot be used", why=str(error)[:2000])
        return None

    def _unreachable(self, what: str, error: Exception) -> Exception:
        return (
            _from_chain(error)
            or self.dial.trouble(error)
            or TargetUnreachableError(f"{self._name()} could not be asked for {what}", why=_reason(error))
        )

    def _refused(self, what: str, code: int, text: str) -> TargetRefusedError:
        if is_full(text):
            return full(self.name, f"{self._name()} has no space left for {what}", text)
        if code == BAD_REQUEST and TLS_WANTED in text:
            return TargetRefusedError(
                f"{self._name()} speaks TLS on this port, and the connection says nothing of TLS",
                why=text[:2000],
                advice="Name tls_ca_file in it, with tls_cert_file and tls_key_file where the engine asks for a "
                "certificate; or set tls_verify to true, if this system trusts who signed the engine's.",
            )
        return EngineError(f"{self._name()} refused {what}", code=code, why=text[:2000])

    def _name(self) -> str:
        return self.name[:1].upper() + self.name[1:]


def is_full(text: str) -> bool:
    """Whether an engine's words say that its disk is full, or a quota is."""
    lowered = text.lower()
    return "no space left on device" in lowered or "disk quota exceeded" in lowered


def full(engine: str, what: str, why: str) -> EngineFullError:
    """Return the error of a full disk. ``engine``: its name."""
    return EngineFullError(
        what,
        why=why[:2000],
        advice=f"Free some on the disk that {engine} keeps its data on: docker system df says what takes it, "
        "docker system prune removes what nothing uses.",
    )


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
