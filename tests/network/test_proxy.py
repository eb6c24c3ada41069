"""The proxy delays, counts and breaks as it says."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.network.proxy import DelayingProxy

PATIENCE_S = 30
MEGABYTE = 1024 * 1024


@dataclass
class Echo:
    """A server that sends back what it gets, and the end of it."""

    listener: socket.socket

    @property
    def address(self) -> str:
        return str(self.listener.getsockname()[0])

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(MEGABYTE):
                    connection.sendall(data)
            except OSError:
                pass


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo(socket.create_server(("127.0.0.1", 0)))
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()
    thread.join()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[DelayingProxy]:
    with DelayingProxy(echo) as proxy:
        yield proxy


def connect(proxy: DelayingProxy) -> socket.socket:
    client = socket.create_connection((proxy.address, proxy.port), PATIENCE_S)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def receive(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := client.recv(size - len(data))):
        data += more
    return data


def seconds_of_a_turn(client: socket.socket) -> float:
    began = time.perf_counter()
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    return time.perf_counter() - began


def send_for_ever(client: socket.socket) -> None:
    while True:
        client.sendall(bytes(10_000))
        assert receive(client, 10_000)


def test_every_byte_of_both_directions_arrives_and_is_counted(proxy):
    sent = bytes(range(256)) * 40_000
    with connect(proxy) as client:
        thread = threading.Thread(target=lambda: (client.sendall(sent), client.shutdown(socket.SHUT_WR)))
        thread.start()
        received = receive(client, len(sent))
        thread.join()
        assert client.recv(1) == b""
    assert received == sent
    traffic = proxy.traffic()
    assert (traffic.up_bytes, traffic.down_bytes, traffic.connections) == (len(sent), len(sent), 1)


@pytest.mark.parametrize("rtt_s", [0.01, 0.05])
def test_a_turn_takes_the_round_trip_that_was_asked_for(proxy, rtt_s):
    with connect(proxy) as client:
        seconds_of_a_turn(client)
        proxy.set_rtt(rtt_s)
        seconds = min(
            seconds_of_a_turn(client) for _ in range(20)
        )  # the machine may be busy; the delay is always there
    assert 0.9 * rtt_s < seconds < 1.5 * rtt_s


def test_the_first_turn_of_a_connection_takes_two_round_trips_as_with_tcp(echo):
    rtt_s = 0.05
    with DelayingProxy(echo, rtt_s) as proxy:
        seconds = []
        for _ in range(3):
            with connect(proxy) as client:
                seconds.append(seconds_of_a_turn(client))
    assert 1.8 * rtt_s < min(seconds) < 3 * rtt_s


def test_the_delay_does_not_limit_the_throughput(echo):
    """With a window of 64 KB, as a delay that is waited for with every chunk has it, this would take 25 seconds."""
    rtt_s, size = 0.05, 32 * MEGABYTE
    with DelayingProxy(echo, rtt_s) as proxy, connect(proxy) as client:
        seconds_of_a_turn(client)
        began = time.perf_counter()
        thread = threading.Thread(target=client.sendall, args=(bytes(size),))
        thread.start()
        left = size
        while left:
            left -= len(client.recv(MEGABYTE))
        thread.join()
        assert time.perf_counter() - began < 12


def test_a_dropped_connection_is_reset_and_a_new_one_is_not(proxy):
    with connect(proxy) as client:
        seconds_of_a_turn(client)
        proxy.drop()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert proxy.traffic().open_connections == 0
    with connect(proxy) as client:
        seconds_of_a_turn(client)


def test_new_connections_are_refused_and_open_ones_stay(proxy):
    with connect(proxy) as client:
        seconds_of_a_turn(client)
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        seconds_of_a_turn(client)
    proxy.refuse(False)
    with connect(proxy) as client:
        seconds_of_a_turn(client)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_connection_is_cut_behind_the_byte_that_was_named_and_only_once(proxy, direction):
    with connect(proxy) as client:
        seconds_of_a_turn(client)
        proxy.cut(direction, 70_000)
        with pytest.raises(ConnectionError):
            send_for_ever(client)
    passed = proxy.traffic()
    assert {"up": passed.up_bytes, "down": passed.down_bytes}[direction] == 70_001
    with connect(proxy) as client:
        client.sendall(bytes(100_000))
        assert len(receive(client, 100_000)) == 100_000


def test_a_stalled_link_forwards_nothing_closes_nothing_and_goes_on(proxy):
    with connect(proxy) as client:
        seconds_of_a_turn(client)
        proxy.stall()
        client.sendall(b"late")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert proxy.traffic().up_bytes == 1
        client.settimeout(PATIENCE_S)
        proxy.stall(False)
        assert receive(client, 4) == b"late"


def knock(client: socket.socket, proxy: DelayingProxy) -> None:
    client.connect((proxy.address, proxy.port))
    client.recv(1)  # the reset may come as early as in the line above


def test_a_server_that_is_not_there_resets_the_connection():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # nobody else takes the port, and nobody listens
        with DelayingProxy(Echo(silent)) as proxy, socket.socket() as client, pytest.raises(ConnectionResetError):
            knock(client, proxy)


def test_the_process_is_gone_when_the_proxy_stopped(echo):
    with DelayingProxy(echo) as proxy:
        pid = str(proxy._process.pid)
        assert subprocess.run(["ps", "-p", pid], capture_output=True).returncode == 0
    assert subprocess.run(["ps", "-p", pid], capture_output=True).returncode == 1


def test_ssh_works_over_it_and_the_connection_leads_there(sshd):
    with DelayingProxy(sshd) as proxy:
        connection = sshd.connection(via=proxy)
        assert (connection["host"], connection["port"]) == (proxy.address, proxy.port)
        over = ["-o", f"HostKeyAlias={sshd.address if sshd.port == 22 else f'[{sshd.address}]:{sshd.port}'}"]
        command = sshd.host.ssh("head -c 100000 /dev/zero | wc -c")
        where = [*command[:1], *over, *command[1:]]
        where[where.index("-p") + 1] = str(proxy.port)
        where[where.index(f"{sshd.user}@{sshd.address}")] = f"{sshd.user}@{proxy.address}"
        assert subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip() == "100000"
        assert proxy.traffic().connections == 1
