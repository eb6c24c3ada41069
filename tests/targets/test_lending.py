"""A ``uv`` of ours on its way to a host that has none: what is known of it, and what a host may ask for."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider.scriptrun.errors import ProtocolError, TargetRefusedError
from airflow_provider.scriptrun.targets.contract import Outcome, StartRequest
from airflow_provider.scriptrun.targets.host import HostTarget
from airflow_provider.scriptrun.targets.lending import is_static, needs, own_uv
from airflow_provider.scriptrun.targets.transports.local import LocalTransport
from tests.conformance.client import Client, from_pip
from tests.conformance.targets import SshPlace
from tests.targets.fakes import ScriptedProcess, ScriptedTransport, said
from tests.targets.test_parse import STATUS

PACKAGE = "iniconfig"
PIP = from_pip(PACKAGE)
WANTED = {"outcome": "missing", "snapshots": [], "base": None, "tools": ["uv"]}
ACCEPTED = {"outcome": "accepted", "run_id": "r", "status": {**STATUS, "status": "Running", "reason": None}}
KEPT = {"kept": True}


def test_what_is_said_of_our_uv_is_true() -> None:
    uv = own_uv()
    assert uv is not None
    content = b"".join(uv.chunks())
    assert (uv.sha256, uv.size) == (hashlib.sha256(content).hexdigest(), len(content))
    names = os.uname()
    assert uv.runs_on(names.sysname, names.machine, os.confstr("CS_GNU_LIBC_VERSION") or "musl")


def elf(*headers: int) -> io.BytesIO:
    """Return a program for Linux with program headers of these types."""
    size = 56
    head = b"\x7fELF\x02\x01".ljust(32, b"\0") + struct.pack("<Q", 64)
    head = head.ljust(54, b"\0") + struct.pack("<HH", size, len(headers))
    return io.BytesIO(head.ljust(64, b"\0") + b"".join(struct.pack("<I", kind).ljust(size, b"\0") for kind in headers))


def test_a_program_that_names_no_loader_is_static() -> None:
    assert is_static(elf(1, 6, 2))
    assert not is_static(elf(6, 3, 1))
    with open(sys.executable, "rb") as file:
        assert not is_static(file)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: elf(1).getvalue()[:60] + data))
def test_a_file_that_is_no_program_breaks_nothing(data: bytes) -> None:
    assert is_static(io.BytesIO(data)) in (True, False)


@pytest.mark.parametrize(
    ("tags", "libc", "machine"),
    [
        (["py3-none-manylinux_2_17_x86_64", "py3-none-manylinux2014_x86_64"], "glibc 2.17", "x86_64"),
        (["py3-none-manylinux_2_28_aarch64", "py3-none-manylinux_2_17_aarch64"], "glibc 2.17", "aarch64"),
        (["py3-none-musllinux_1_1_x86_64"], "musl 1.1", "x86_64"),
    ],
)
def test_a_program_needs_what_its_wheel_was_built_for(tags: list[str], libc: str, machine: str) -> None:
    wheel = "Wheel-Version: 1.0\n" + "".join(f"Tag: {tag}\n" for tag in tags)
    assert needs(sys.executable, wheel) == {"system": "Linux", "machine": machine, "libc": libc}


def test_a_program_without_a_wheel_needs_what_this_host_has(tmp_path: Path) -> None:
    assert set(needs(sys.executable, "")) == {"system", "machine", "libc"}
    static = tmp_path / "static"
    static.write_bytes(elf(1).getvalue())
    assert set(needs(str(static), "Tag: py3-none-musllinux_1_1_x86_64\n")) == {"system", "machine"}


def start(*answers: dict[str, Any], environment: dict[str, Any] = PIP, **values: Any) -> tuple[Any, bytes]:
    process = ScriptedProcess(said(*answers), hangs=True)
    target = HostTarget(ScriptedTransport(process), name="vm", root="~/.scriptrun", **values)
    return target.start(StartRequest("r", "l", "e", environment=environment)), process.written


def test_a_start_lends_what_it_is_asked_for_and_asks_again() -> None:
    started, written = start(WANTED, {"waiting": True}, {"wanted": True}, KEPT, ACCEPTED)
    assert (started.outcome, started.lent) == (Outcome.ACCEPTED, ("uv",))
    assert written.count(b'"op":"start"') == 2
    assert written.count(b'"op":"lend"') == 1


def test_what_another_run_has_lent_meanwhile_is_not_sent() -> None:
    started, written = start(WANTED, {"waiting": True}, {"wanted": False}, ACCEPTED)
    assert (started.outcome, started.lent) == (Outcome.ACCEPTED, ())
    assert len(written) < 100_000


def test_a_start_whose_snapshot_is_missing_too_waits_for_that() -> None:
    started, written = start({**WANTED, "snapshots": ["a" * 64]}, {"wanted": True}, KEPT)
    assert (started.outcome, started.lent) == (Outcome.MISSING, ("uv",))
    assert written.count(b'"op":"start"') == 1


def test_nothing_is_offered_to_what_needs_none_or_has_its_own() -> None:
    _, written = start(ACCEPTED, environment={"kind": "default"})
    assert b'"tools":{}' in written
    _, written = start(ACCEPTED, tools={"uv": "/usr/bin/uv"})
    assert b'"tools":{"uv":"/usr/bin/uv"}' in written


@pytest.mark.parametrize("tools", [["docker"], ["../uv"], "uv", [1], ["uv"] * 11])
def test_a_host_that_asks_for_anything_else_is_refused(tools: Any) -> None:
    with pytest.raises(ProtocolError):
        start({**WANTED, "tools": tools}, KEPT, ACCEPTED)


@pytest.mark.slow
def test_a_host_that_asks_again_after_it_was_sent_is_refused() -> None:
    with pytest.raises(TargetRefusedError, match="again"):
        start(WANTED, {"wanted": True}, KEPT, WANTED)


def built(client: Client) -> None:
    """Build an environment there, twice: the second run finds it."""
    script = f"import {PACKAGE}; print({PACKAGE}.__name__)"
    for lent in (("uv",), ()):
        request, tree = client.request(script, environment=PIP)
        client.run_ids.append(request.run_id)
        started = client.target.start(request)
        assert started.lent == lent
        if started.outcome is Outcome.MISSING:
            client.target.send(tree)
            started = client.target.start(request)
        followed = client.follow(started.run_id)
        assert followed.log.split() == [PACKAGE.encode()], followed.build
        assert (b"with uv" in followed.build) is bool(lent)


@pytest.mark.slow
@pytest.mark.needs("network")
def test_a_host_without_uv_borrows_ours_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    with HostTarget(LocalTransport(), name="vm", root=str(tmp_path / "root"), interpreter=sys.executable) as target:
        client = Client(target)
        built(client)
        client.cancel_all()


@pytest.mark.slow
@pytest.mark.needs("network", "sshd")
def test_a_machine_over_ssh_without_uv_borrows_ours_once() -> None:
    place = SshPlace.make()
    try:
        with place.open() as target:
            client = Client(target)
            built(client)
            client.cancel_all()
    finally:
        place.remove()
