"""An image registry of one's own, as Debian's docker-registry is one; and servers that are none.

It is on 127.0.0.1, where an engine does without TLS.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import logging
import os
import shutil
import tarfile
import threading
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import bcrypt

from scripts import docker_engine
from scripts.airflow_home import free_port
from scripts.service import Service
from tests.docker.leaks import LABEL

#: Who is let in.
USER, PASSWORD = "robot", "4hN-registry-pw-0pen"  # of a registry that lives for a test
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFESTS = "application/vnd.docker.distribution.manifest.list.v2+json"
_PATIENCE_S = 30.0
_PAUSE_S = 0.02
_PORT_ATTEMPTS = 5


class ImageRegistry:
    """A registry that lets in ``USER`` with ``PASSWORD``, or everybody. It answers when the constructor returns.

    :param folder: where it keeps everything.
    :param host: the address that it listens on; another one than 127.0.0.0/8 is expected to have TLS by engines.
    :param is_open: whether it asks for no login.
    """

    def __init__(self, folder: Path, host: str = "127.0.0.1", *, is_open: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.host, self.port, self._is_open = folder, host, 0, is_open
        self._service: Service | None = None
        users = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4, prefix=b"2a")).decode()
        (folder / "users").write_text(f"{USER}:{users}\n")
        self.start()

    @property
    def address(self) -> str:
        """As it stands in front of an image's name."""
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        """Start it, at the same address each time; return when it answers."""
        for left in reversed(range(1 if self.port else _PORT_ATTEMPTS)):
            port = self.port or free_port()
            settings = {
                "version": 0.1,
                "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}},
                "http": {"addr": f"{self.host}:{port}"},
                "auth": {"htpasswd": {"realm": "test", "path": str(self.folder / "users")}},
            }
            if self._is_open:
                del settings["auth"]
            (self.folder / "settings.yml").write_text(json.dumps(settings))  # JSON is YAML
            # it goes with a test process that is killed
            command = ["setpriv", "--pdeathsig", "KILL", "docker-registry", "serve", "settings.yml"]
            self._service = Service(
                "docker-registry", command, environment=os.environ, folder=self.folder, log=self.folder / "log"
            )
            self._service.start()
            if self._answers(port):
                self.port = port
                return
            self._service.kill()
            assert left, f"docker-registry does not start:\n{(self.folder / 'log').read_text()[-2000:]}"

    def stop(self) -> None:
        """Stop it; what it keeps stays."""
        if self._service is not None:
            self._service.stop()

    def remove(self) -> None:
        """Stop it, and remove what it keeps."""
        self.stop()
        shutil.rmtree(self.folder)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Ask it as its user, past any engine; return status and body."""
        login = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_PATIENCE_S)
        try:
            connection.request(method, path, body, {"Authorization": f"Basic {login}", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def tags(self, repository: str) -> list[str]:
        """Return what it has of a repository."""
        status, body = self.ask("GET", f"/v2/{repository}/tags/list")
        return sorted(json.loads(body)["tags"] or []) if status == http.client.OK else []

    def put_list(self, repository: str, tag: str, platforms: Mapping[str, str]) -> None:
        """Make an image of several platforms: ``linux/arm64`` -> the tag of that one."""
        entries = []
        for platform, other in platforms.items():
            status, body = self.ask("GET", f"/v2/{repository}/manifests/{other}", headers={"Accept": MANIFEST})
            assert status == http.client.OK, body
            system, machine = platform.split("/")
            entry: dict[str, Any] = {"mediaType": MANIFEST, "size": len(body), "digest": _digest(body)}
            entries.append({**entry, "platform": {"os": system, "architecture": machine}})
        document = json.dumps({"schemaVersion": 2, "mediaType": MANIFESTS, "manifests": entries}).encode()
        path = f"/v2/{repository}/manifests/{tag}"
        status, said = self.ask("PUT", path, document, {"Content-Type": MANIFESTS})
        assert status == http.client.CREATED, said

    def spoil(self) -> None:
        """Change every layer that it keeps, as a broken disk may; manifests stay."""
        for path in self.folder.glob("data/docker/registry/v2/blobs/sha256/*/*/data"):
            if not path.read_bytes().startswith(b"{"):
                path.write_bytes(b"nobody's layer")

    def _answers(self, port: int) -> bool:
        deadline = time.monotonic() + _PATIENCE_S
        while self._service is not None and self._service.is_running and time.monotonic() < deadline:
            connection = http.client.HTTPConnection(self.host, port, timeout=_PATIENCE_S)
            with contextlib.suppress(OSError):
                connection.request("GET", "/v2/")
                return connection.getresponse().status in (http.client.OK, http.client.UNAUTHORIZED)
            connection.close()
            time.sleep(_PAUSE_S)
        return False


@contextlib.contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that answers everything the same, which no registry does; its address."""

    class Same(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = answer  # noqa: N815  # http.server's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with _serving(Same) as address:
        yield address


@contextlib.contextmanager
def falling_silent(*, shows_images: bool) -> Iterator[str]:
    """A server that is a registry at first sight, and then says nothing more to anybody; its address.

    :param shows_images: whether it says what an image is made of, and gives no layer.
    """
    over = threading.Event()
    parts = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": 9, "digest": _digest(b"layer")}
    config = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 9, "digest": _digest(b"config")}
    image = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [parts]}).encode()

    class Silent(BaseHTTPRequestHandler):
        def answer(self) -> None:
            shows = shows_images and "/manifests/" in self.path
            if self.path != "/v2/" and not shows:
                over.wait()
                return
            body = image if shows else b"{}"
            self.send_response(200)
            self.send_header("Content-Type", MANIFEST if shows else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Docker-Content-Digest", _digest(body))
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = answer  # noqa: N815  # http.server's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with _serving(Silent) as address:
        try:
            yield address
        finally:
            over.set()


@contextlib.contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(_PAUSE_S,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Lines(logging.Handler):
    """What the Docker target logs, whatever Airflow makes of logging when it is loaded; as a context."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self._logger = logging.getLogger("airflow_provider.scriptrun.targets.docker")
        self._level = self._logger.level

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(record.getMessage() for record in self.records)

    @property
    def warnings(self) -> list[str]:
        """The warnings among it."""
        return [record.getMessage() for record in self.records if record.levelno == logging.WARNING]

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)

    def __enter__(self) -> Lines:
        self._logger.addHandler(self)
        self._logger.setLevel(logging.DEBUG)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)


def small_image(store: str, content: str, platform: str = "linux/amd64") -> str:
    """Make an image of one file, which nothing runs in, and that the store takes with it; return its id."""
    layer = _archive({"content": content.encode()})
    system, machine = platform.split("/")
    config = {
        "os": system,
        "architecture": machine,
        "config": {"Labels": {LABEL: store}},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        "history": [{"created_by": "a test"}],
    }
    manifest = [{"Config": "config.json", "RepoTags": None, "Layers": ["layer.tar"]}]
    archive = _archive(
        {
            "layer.tar": layer,
            "config.json": json.dumps(config).encode(),
            "manifest.json": json.dumps(manifest).encode(),
        }
    )
    said = docker_engine.ask("load", data=archive)  # an import cannot be of another machine
    return said.rpartition("Loaded image ID: ")[2].strip()


def _archive(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
