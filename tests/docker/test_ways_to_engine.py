"""Who may not use an engine, and who speaks with it in another way than it does, is told so at once, and what to do."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airflow_provider.scriptrun.errors import ConfigurationError, TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from tests import components
from tests.docker.certificates import Certificates
from tests.docker.engine import PrivateEngine
from tests.docker.leaks import Leaks, new_volume
from tests.ssh.worker import Worker

pytestmark = [pytest.mark.needs("private engine"), pytest.mark.slow, pytest.mark.xdist_group("ways_to_engine")]

#: No error here needs longer; a hang does.
SOON_S = 10.0
NOBODY = 65534


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    return Worker(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def own(base_image_name: str) -> Iterator[PrivateEngine]:
    """An engine with TLS on a port, where it lets in whom its authority knows; and a socket that is root's."""
    components.require("private engine")
    with PrivateEngine(load=[base_image_name], tls=True, group=0) as own:
        yield own


@pytest.fixture
def strangers(tmp_path: Path) -> Certificates:
    """Files of an authority that the engine does not know."""
    return Certificates(tmp_path / "strangers")


def document(own: PrivateEngine, **changes: object) -> dict[str, object]:
    """Return the connection that leads to the engine's port, with changes of its extra; ``host`` is its own field."""
    files = own.certificates
    assert files is not None
    host = changes.pop("host", own.tcp_url)
    extra = {"tls_ca_file": str(files.ca), "tls_cert_file": str(files.cert), "tls_key_file": str(files.key), **changes}
    return {
        "conn_type": "scriptrun_docker",
        "host": host,
        "extra": {name: value for name, value in extra.items() if value is not None},
    }


def refusal(worker: Worker, connection: dict[str, object], kind: type = TargetRefusedError) -> str:
    """Return what a check is told, soon."""
    began = time.monotonic()
    message = worker.refusal(connection, kind)
    assert time.monotonic() - began < SOON_S
    return message


@contextmanager
def port(answer: bytes) -> Iterator[int]:
    """A port on which each client is told something, whatever it says."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    client.recv(4096)
                    client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def plain(own: PrivateEngine) -> Iterator[int]:
    """A port without TLS that leads to the engine's socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def forward(source: socket.socket, sink: socket.socket) -> None:
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client, socket.socket(socket.AF_UNIX) as engine_end:
                    engine_end.connect(str(own.socket))
                    up = threading.Thread(target=forward, args=(client, engine_end), daemon=True)
                    up.start()
                    forward(engine_end, client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)


def test_a_run_goes_through_tls_to_its_end(worker: Worker, own: PrivateEngine, base_image_name: str) -> None:
    volume = new_volume()
    with worker.client(document(own, volume=volume, base_image=base_image_name, network="none")) as client:
        followed = client.finish("open('outputs/model', 'wb').write(bytes(1_000_000)); print('over TLS')")
        assert (followed.end.status, followed.log) == (Status.COMPLETED, b"over TLS\n")
        sizes = [sum(map(len, file.chunks)) for file in client.target.fetch(followed.run_id, ["outputs/model"])]
        assert sizes == [1_000_000]
    leaks = Leaks(own.url)
    leaks.clear(volume)
    leaks.close()


def test_a_name_that_the_certificate_is_for_may_stand_in_for_that_of_the_host(
    worker: Worker, own: PrivateEngine
) -> None:
    with worker.open(document(own, tls_hostname="localhost")) as target:
        assert target.engine.client().ping()


def test_an_engine_of_another_authority_is_not_trusted(
    worker: Worker, own: PrivateEngine, strangers: Certificates
) -> None:
    message = refusal(worker, document(own, tls_ca_file=str(strangers.ca)))
    assert f"is not signed by the authority in tls_ca_file, {strangers.ca}" in message
    assert own.tcp_url.removeprefix("tcp://") in message


def test_an_engine_whose_authority_nobody_named_is_not_trusted(worker: Worker, own: PrivateEngine) -> None:
    message = refusal(worker, document(own, tls_ca_file=None))
    assert "is not signed by an authority that this system trusts" in message
    assert "Name in tls_ca_file the authority" in message


def test_a_certificate_for_another_name_is_refused(worker: Worker, own: PrivateEngine) -> None:
    message = refusal(worker, document(own, tls_hostname="gpu1.example.com"))
    assert "is for another name" in message
    assert "gpu1.example.com" in message
    assert "tls_hostname" in message


def test_who_comes_without_a_certificate_is_told_which_fields_name_one(worker: Worker, own: PrivateEngine) -> None:
    for _ in range(5):  # its word may come behind the end of the connection
        message = refusal(worker, document(own, tls_cert_file=None, tls_key_file=None))
        assert "lets nobody in without a certificate" in message
        assert "tls_cert_file and tls_key_file" in message


def test_who_comes_with_a_strangers_certificate_is_told_which_file_it_is(
    worker: Worker, own: PrivateEngine, strangers: Certificates
) -> None:
    files = {"tls_cert_file": str(strangers.cert), "tls_key_file": str(strangers.key)}
    message = refusal(worker, document(own, **files))
    assert f"does not accept the certificate in tls_cert_file, {strangers.cert}" in message


def test_a_key_that_is_anothers_is_named_before_anything_is_asked(
    worker: Worker, own: PrivateEngine, strangers: Certificates
) -> None:
    message = refusal(worker, document(own, tls_key_file=str(strangers.key)), ConfigurationError)
    assert f"tls_key_file {strangers.key}" in message


def test_a_connection_without_tls_to_a_port_with_it_is_told_so(worker: Worker, own: PrivateEngine) -> None:
    message = refusal(worker, document(own, tls_ca_file=None, tls_cert_file=None, tls_key_file=None))
    assert "speaks TLS on this port, and the connection says nothing of TLS" in message
    assert "tls_ca_file" in message


def test_a_connection_with_tls_to_a_port_without_it_is_told_so(worker: Worker, own: PrivateEngine) -> None:
    with plain(own) as number:
        message = refusal(worker, document(own, host=f"tcp://127.0.0.1:{number}"))
    assert f"127.0.0.1:{number} does not speak TLS on this port" in message
    assert "leave tls_ca_file, tls_cert_file, tls_key_file, tls_verify and tls_hostname empty" in message


def test_a_port_of_something_else_is_no_engine(worker: Worker, own: PrivateEngine) -> None:
    with port(b"SSH-2.0-OpenSSH_9.2\r\n") as number:
        host = f"tcp://127.0.0.1:{number}"
        assert "does not speak TLS on this port" in refusal(worker, document(own, host=host))
        plain_document = {"conn_type": "scriptrun_docker", "host": host}
        assert "no engine" in refusal(worker, plain_document, TargetUnreachableError)


def test_a_port_that_closes_at_once_is_tried_again(worker: Worker, own: PrivateEngine) -> None:
    """As one that leads on to an engine that is not up yet."""
    with port(b"") as number:
        connection = document(own, host=f"tcp://127.0.0.1:{number}")
        refusal(worker, connection, TargetUnreachableError)


@contextmanager
def nobody() -> Iterator[None]:
    """Be another user for a moment, without groups; the kernel looks at who connects."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.mark.parametrize(
    ("group", "mode", "advice"),
    [
        (0, 0o660, "Give it a group of its own"),
        (NOBODY + 1, 0o660, f"Add the user to the group {NOBODY + 1}"),
        (NOBODY + 1, 0o600, "Give it a group of its own"),
    ],
)
def test_a_socket_that_this_user_may_not_use_is_said_with_user_and_group(
    worker: Worker, own: PrivateEngine, group: int, mode: int, advice: str
) -> None:
    os.chown(own.socket, 0, group)
    own.socket.chmod(mode)
    connection = {"conn_type": "scriptrun_docker", "host": own.url}
    with worker.open(connection) as target, pytest.raises(TargetRefusedError) as caught, nobody():
        target.engine.client()
    message = str(caught.value)
    assert f"({NOBODY}) may not use the Docker engine's socket {own.socket}" in message
    assert f"with mode {mode:04o}" in message
    assert advice in message
    assert "start the worker anew" in message


def test_a_socket_in_a_folder_that_this_user_may_not_enter_is_said_so(worker: Worker, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    connection = {"conn_type": "scriptrun_docker", "host": f"unix://{closed}/docker.sock"}
    with worker.open(connection) as target, pytest.raises(TargetRefusedError) as caught, nobody():
        target.engine.client()
    assert f"The folder {closed}, or one above it, is closed to this user" in str(caught.value)
