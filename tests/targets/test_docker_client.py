from __future__ import annotations

import base64
import io
import json
import socket
import threading
from pathlib import Path

import pytest

from airflow_provider.scriptrun.targets.docker.client import new_client

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
BODY = b"FROM scratch"


class Wire:
    """An engine's end of one connection: it reads a whole request, and answers it with an empty object."""

    def __init__(self) -> None:
        self._client, self._engine = socket.socketpair()
        self.heard = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def dial(self) -> socket.socket:
        return self._client

    def close(self) -> None:
        self._thread.join()
        self._client.close()
        self._engine.close()

    def _serve(self) -> None:
        while BODY not in self.heard:
            self.heard += self._engine.recv(4096)
        self._engine.sendall(ANSWER)


def test_an_engine_hears_nothing_of_what_the_workers_user_has_configured_for_docker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = {"auth": base64.b64encode(b"user:pw-of-user").decode()}
    proxies = {"default": {"httpProxy": "http://me:pw-of-user@proxy:3128"}}
    config = {"auths": {"registry.example.com": login}, "HttpHeaders": {"X-Own": "own"}, "proxies": proxies}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    wire = Wire()
    client = new_client(wire, "1.41", 30.0)

    list(client.build(fileobj=io.BytesIO(BODY), custom_context=True, decode=True))

    wire.close()
    client.close()
    head = wire.heard.split(b"\r\n\r\n")[0]
    assert head.startswith(b"POST ")
    assert b"X-Registry" not in head
    assert b"X-Own" not in head
    assert b"pw-of-user" not in wire.heard
    assert b"proxy" not in wire.heard.lower()
