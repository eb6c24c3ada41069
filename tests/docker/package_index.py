"""A package index of our own (PEP 503) on this machine, for containers in its network.

It may want a login, speak TLS, and wait. It is a proxy, too, to itself, whatever the host that is asked for.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, urlsplit

from tests.docker.certificates import Certificates
from tests.supervisor.environment_target import make_wheel

#: No test lets it wait longer.
_PATIENCE_S = 120.0


class PackageIndex:
    """Serves tiny wheels; while :attr:`gate` is cleared, whoever wants one waits.

    :param packages: name -> version.
    :param login: user and password that it wants.
    :param certificates: of the server that it then is, over TLS; ``None``: it speaks plain HTTP.
    """

    def __init__(
        self,
        folder: Path,
        packages: Mapping[str, str],
        login: tuple[str, str] | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self._folder = folder
        for name, version in packages.items():
            self.offer(name, version)
        self.login = ":".join(login) if login else ""
        self.wheels: list[str] = []  #: those that were asked for, in order
        self.proxied: list[str | None] = []  #: with which authorization a proxy was asked, in order
        self.is_away = False  #: it hangs up on whoever asks
        self.gate, self.reached = threading.Event(), threading.Event()
        self.gate.set()
        handler = functools.partial(_Handler, self, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if certificates:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificates.server_cert, certificates.server_key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        user = "".join(f"{quote(part, safe='')}{mark}" for part, mark in zip(login, ":@", strict=True)) if login else ""
        self.url = f"http{'s' if certificates else ''}://{user}{self.address}/simple"

    def offer(self, name: str, version: str) -> None:
        """Have this version of a package, beside those that it has."""
        folder = self._folder / "simple" / name
        make_wheel(folder, name.replace("-", "_"), version)
        links = "".join(f'<a href="{wheel.name}">{wheel.name}</a>' for wheel in sorted(folder.glob("*.whl")))
        (folder / "index.html").write_text(f"<!DOCTYPE html>{links}")

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def authorization(self) -> str:
        """What a client's header ends with."""
        return base64.b64encode(self.login.encode()).decode()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let whoever wants a wheel wait meanwhile."""
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()

    def __enter__(self) -> PackageIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, index: PackageIndex, *arguments: object, directory: str) -> None:
        self._index = index
        super().__init__(*arguments, directory=directory)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if self._index.is_away:
            self.close_connection = True
            return
        if self.path.startswith("http://"):
            self._index.proxied.append(self.headers.get("Proxy-Authorization"))
            self.path = urlsplit(self.path).path
        if self._index.login and self.headers.get("Authorization") != f"Basic {self._index.authorization}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path.endswith(".whl"):
            self._index.wheels.append(self.path.rpartition("/")[2])
            self._index.reached.set()
            self._index.gate.wait(_PATIENCE_S)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Stay quiet."""
