"""The local transport: a child process on this host, in a session of its own, that sees little of our environment."""

from __future__ import annotations

import fnmatch
import os
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import TargetRefusedError
from airflow_provider.scriptrun.targets.transports.base import DIAGNOSIS_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: What any program needs to find its files, its user and its language.
_BASICS = (
    "HOME",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TEMP",
    "TMP",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_*",
)
#: What the environment builder needs to reach a package index. A script sees none of them unless it inherits them.
_NETWORK = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("UV_*", "PIP_*", "CONDA_*", "MAMBA_ROOT_PREFIX", "NETRC"),
)
#: Tests only: where a supervisor kills itself.
_CRASH_POINTS = ("SCRIPTRUN_CRASH_POINT*",)
ALLOWED_VARIABLES = _BASICS + _NETWORK + _CRASH_POINTS
#: Airflow's secrets stay here whatever somebody allows: configuration, connections, variables.
NEVER = ("AIRFLOW__*", "_AIRFLOW_*", "AIRFLOW_CONN_*", "AIRFLOW_VAR_*", "__AIRFLOW_*")
#: A supervisor whose input ended is gone in milliseconds; one that is not is killed.
_EXIT_PATIENCE_S = 2.0
_MILLISECONDS = 1000


def allowed_environment(variables: Mapping[str, str], also: Iterable[str] = ()) -> dict[str, str]:
    """Return those of ``variables`` that a target process may have: the allow-list, and the patterns in ``also``."""
    patterns = (*ALLOWED_VARIABLES, *also)

    def matches(name: str, among: Iterable[str]) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in among)

    return {n: value for n, value in variables.items() if matches(n, patterns) and not matches(n, NEVER)}


class LocalTransport:
    """Runs commands on this host.

    :param inherit: names and patterns of our variables that they may see beyond the allow-list.
    """

    name = "this host"

    def __init__(self, inherit: Iterable[str] = ()) -> None:
        self._environment = allowed_environment(os.environ, inherit)

    def open(self, argv: Sequence[str]) -> LocalProcess:
        """Start a command. Raises :class:`TargetRefusedError` when it cannot be executed."""
        try:
            return LocalProcess(argv, self._environment)
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            raise TargetRefusedError(
                f"{argv[0]} cannot be executed on this host",
                why=error.strerror,
                advice="Name a Python in local_interpreter of [scriptrun], or in the connection.",
            ) from None

    def close(self) -> None:
        """Nothing stays open."""


class LocalProcess:
    """A child process. Its pipes do not block: every wait is bounded, and standard error is read along the way."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=environment,
            start_new_session=True,  # what is sent to our group or terminal must not reach it
        )
        assert self._process.stdin is not None  # noqa: S101 - they are pipes
        assert self._process.stdout is not None  # noqa: S101
        assert self._process.stderr is not None  # noqa: S101
        self._pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._input, self._output, self._errors = (pipe.fileno() for pipe in self._pipes)
        for descriptor in (self._input, self._output, self._errors):
            os.set_blocking(descriptor, False)
        self._diagnosis = b""
        self._errors_ended = self._closed = False

    def read(self, size: int, timeout_s: float) -> bytes:
        """See :class:`~.base.Process`."""
        self._wait_for(self._output, select.POLLIN, time.monotonic() + timeout_s)
        return os.read(self._output, size)

    def write(self, data: bytes, timeout_s: float) -> None:
        """See :class:`~.base.Process`."""
        view = memoryview(data)
        while view:
            self._wait_for(self._input, select.POLLOUT, time.monotonic() + timeout_s)
            view = view[os.write(self._input, view) :]

    def diagnosis(self) -> bytes:
        """See :class:`~.base.Process`."""
        if not self._closed:
            self._drain_errors()
        return self._diagnosis

    def wait(self, timeout_s: float) -> int | None:
        """See :class:`~.base.Process`."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        """See :class:`~.base.Process`."""
        self._process.kill()

    def close(self) -> None:
        """See :class:`~.base.Process`."""
        if self._closed:
            return
        self._closed = True
        for pipe in self._pipes:
            pipe.close()
        if self.wait(_EXIT_PATIENCE_S) is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def _wait_for(self, descriptor: int, event: int, deadline: float) -> None:
        """Wait until ``descriptor`` is ready; raises ``TimeoutError`` at ``deadline`` (monotonic seconds)."""
        poller = select.poll()
        poller.register(descriptor, event)
        if not self._errors_ended:
            poller.register(self._errors, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            ready = [number for number, _event in poller.poll(left * _MILLISECONDS)]
            if self._errors in ready:
                self._drain_errors()
                if self._errors_ended:
                    poller.unregister(self._errors)
            if descriptor in ready:
                return

    def _drain_errors(self) -> None:
        while not self._errors_ended:
            try:
                chunk = os.read(self._errors, DIAGNOSIS_BYTES)
            except BlockingIOError:
                return
            self._errors_ended = not chunk
            self._diagnosis = (self._diagnosis + chunk)[-DIAGNOSIS_BYTES:]
