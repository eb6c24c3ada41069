"""Programs that a worker lends: asked for only when they are needed, sent once, kept whole, removed when old."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider.scriptrun.supervisor.hello import platform
from airflow_provider.scriptrun.supervisor.housekeeping import clean as cleaning
from airflow_provider.scriptrun.supervisor.housekeeping import leftovers
from airflow_provider.scriptrun.supervisor.protocol.program import agrees
from scripts.programs import UV
from tests.supervisor.environment_target import make_wheel, plan_of
from tests.supervisor.session import Session, Target, opened, start_request, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

#: No uv is there.
BARE_PATH = "/usr/bin:/bin"
#: Looks like a uv, and fails like one whose libraries are missing.
BROKEN = b"#!/bin/sh\necho 'libgcc_s.so.1: cannot open shared object file'\nexit 127\n"
HOUR = 3600.0

names = st.sampled_from(["Linux", "x86_64", "aarch64", "glibc 2.17", "glibc 2.36", "musl 1.2", "musl", "", "x"])
platforms = st.fixed_dictionaries({}, optional={field: names | st.none() for field in ("system", "machine", "libc")})


def platform_of(system: str | None, machine: str | None, libc: str | None) -> dict[str, str | None]:
    return {"system": system, "machine": machine, "libc": libc}


@pytest.mark.parametrize(
    ("needs", "there", "expected"),
    [
        (("Linux", "x86_64", "glibc 2.17"), ("Linux", "x86_64", "glibc 2.36"), True),
        (("Linux", "x86_64", "glibc 2.17"), ("Linux", "x86_64", "glibc 2.17"), True),
        (("Linux", "x86_64", "glibc 2.17"), ("Linux", "x86_64", "glibc 2.9"), False),
        (("Linux", "x86_64", "glibc 2.17"), ("Linux", "x86_64", "glibc"), False),
        (("Linux", "x86_64", "glibc 2.17"), ("Linux", "x86_64", "musl"), False),
        (("Linux", "x86_64", "glibc 2.17"), ("Linux", "x86_64", None), False),
        (("Linux", "x86_64", "glibc 2.17"), ("Linux", "aarch64", "glibc 2.36"), False),
        (("Linux", "x86_64", None), ("Linux", "x86_64", "musl"), True),
        (("Linux", "x86_64", None), ("Linux", "x86_64", None), True),
        (("Linux", "x86_64", "musl 1.1"), ("Linux", "x86_64", "musl"), True),
        (("Linux", "x86_64", "musl 1.2"), ("Linux", "x86_64", "musl 1.1"), False),
        (("Linux", "x86_64", "musl 1.1"), ("Linux", "x86_64", "glibc 2.36"), False),
        (("Linux", "x86_64", "unknown"), ("Linux", "x86_64", "glibc 2.36"), False),
        (("Darwin", "arm64", "unknown"), ("Linux", "aarch64", "glibc 2.36"), False),
        ((None, None, None), (None, None, None), False),
    ],
)
def test_a_program_runs_where_its_system_machine_and_library_are(needs: Any, there: Any, expected: bool) -> None:
    assert agrees(platform_of(*needs), platform_of(*there)) is expected


@given(platforms, platforms)
def test_a_program_never_runs_on_another_machine_or_system(needs: dict[str, str], there: dict[str, str]) -> None:
    if agrees(needs, there):
        assert (needs["system"], needs["machine"]) == (there["system"], there["machine"])


def offer_of(content: bytes, **changes: Any) -> dict[str, Any]:
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "platform": {**platform(), "libc": None},
        **changes,
    }


def lend(session: Session, content: bytes, **changes: Any) -> dict[str, Any]:
    session.writer.json({"op": "lend", "name": "uv", **offer_of(content), **changes})
    session.writer.flush()
    answer = session.receive()
    if not answer.get("wanted"):
        return answer
    session.writer.data(content)
    session.writer.end()
    session.writer.flush()
    return session.receive()


def request(plan: dict[str, Any], offer: dict[str, Any] | None, **fields: Any) -> dict[str, Any]:
    tools = {} if offer is None else {"uv": offer}
    return start_request("python", "-c", "import alpha; alpha.main()", environment=plan, tools=tools, **fields)


@pytest.fixture
def plan(tmp_path: Path) -> dict[str, Any]:
    wheels = tmp_path / "wheels"
    make_wheel(wheels, "alpha", "1.0")
    return plan_of("alpha", wheels=wheels)


@pytest.fixture
def bare(target: Target) -> Session:
    """A session with a host that has no uv."""
    return target.session(PATH=BARE_PATH)


def test_a_start_asks_for_a_program_that_its_environment_needs_and_touches_nothing(
    bare: Session, target: Target, plan: dict[str, Any]
) -> None:
    answer = bare.ask("start", **request(plan, offer_of(BROKEN)))
    assert (answer["outcome"], answer["snapshots"], answer["tools"]) == ("missing", [], ["uv"])
    assert target.layout.run_ids() == []


def test_a_start_says_at_once_that_its_snapshot_and_a_program_are_missing(bare: Session, plan: dict[str, Any]) -> None:
    answer = bare.ask("start", **request(plan, offer_of(BROKEN), snapshot="a" * 64))
    assert (answer["snapshots"], answer["tools"]) == (["a" * 64], ["uv"])


@pytest.mark.parametrize("why", ["its own uv", "another platform", "another kind"])
def test_a_program_that_would_not_be_used_is_not_asked_for(
    why: str, target: Target, plan: dict[str, Any], tmp_path: Path
) -> None:
    path, offer = BARE_PATH, offer_of(BROKEN)
    if why == "its own uv":
        (tmp_path / "uv").write_bytes(BROKEN)
        (tmp_path / "uv").chmod(0o755)
        path = f"{tmp_path}:{BARE_PATH}"
    elif why == "another platform":
        offer["platform"]["machine"] = "vax"
    else:
        plan = {**plan, "kind": "default"}
    # A snapshot that is not there keeps the run from being started.
    answer = target.session(PATH=path).ask("start", **request(plan, offer, snapshot="a" * 64))
    assert (answer["outcome"], answer["tools"]) == ("missing", [])


def test_a_program_is_asked_for_once_and_is_executable(bare: Session, target: Target, plan: dict[str, Any]) -> None:
    asked = request(plan, offer_of(BROKEN), snapshot="a" * 64)
    assert bare.ask("start", **asked)["tools"] == ["uv"]
    assert lend(bare, BROKEN) == {"kept": True}
    assert bare.ask("start", **asked)["tools"] == []
    tool = target.layout.tool(offer_of(BROKEN)["sha256"], "uv")
    assert Path(tool.program).read_bytes() == BROKEN
    assert os.access(tool.program, os.X_OK)
    assert sorted(os.listdir(tool.folder)) == ["in-use", "uv"]


@pytest.mark.parametrize(
    "content", [BROKEN[:-1], BROKEN + b"x", BROKEN[:-1] + b"x", b""], ids=["short", "long", "other", "none"]
)
def test_a_program_that_arrives_damaged_is_refused_and_not_kept(
    content: bytes, bare: Session, target: Target, plan: dict[str, Any]
) -> None:
    answer = lend(bare, content, **offer_of(BROKEN))
    assert answer["error"]["code"] == "damaged"
    tool = target.layout.tool(offer_of(BROKEN)["sha256"], "uv")
    assert os.listdir(tool.folder) == ["in-use"]
    again = target.session(PATH=BARE_PATH)
    assert again.ask("start", **request(plan, offer_of(BROKEN)))["tools"] == ["uv"]


def test_a_sender_that_dies_leaves_nothing_that_passes_for_a_program(
    bare: Session, target: Target, plan: dict[str, Any]
) -> None:
    bare.writer.json({"op": "lend", "name": "uv", **offer_of(BROKEN)})
    bare.writer.flush()
    assert bare.receive() == {"wanted": True}
    bare.writer.data(BROKEN[:5])
    bare.close()
    again = target.session(PATH=BARE_PATH)
    assert again.ask("start", **request(plan, offer_of(BROKEN)))["tools"] == ["uv"]
    assert lend(again, BROKEN) == {"kept": True}


@pytest.mark.parametrize(
    "offer",
    [
        {"name": "../uv"},
        {"name": None},
        {"sha256": "../../" + "a" * 58},
        {"size": 0},
        {"size": "1"},
        {"size": True},
        {"size": 10**12},
    ],
)
def test_what_is_no_program_is_refused(offer: dict[str, Any], bare: Session) -> None:
    assert lend(bare, BROKEN, **offer)["error"]["code"] == "bad_request"


@pytest.mark.parametrize("offer", [{"sha256": None}, {"size": -1}, {"size": 1.5}])
def test_an_offer_that_is_none_is_refused(offer: dict[str, Any], bare: Session, plan: dict[str, Any]) -> None:
    answer = bare.ask("start", **request(plan, {**offer_of(BROKEN), **offer}))
    assert answer["error"]["code"] == "bad_request"


@pytest.mark.slow
def test_a_lent_uv_builds_and_a_reuse_needs_none(target: Target, bare: Session, plan: dict[str, Any]) -> None:
    uv = Path(UV).read_bytes()
    assert bare.ask("start", **request(plan, offer_of(uv)))["tools"] == ["uv"]
    assert lend(bare, uv) == {"kept": True}
    asked = request(plan, offer_of(uv))
    assert bare.ask("start", **asked)["outcome"] == "accepted"
    status = bare.wait(asked["run"]["id"])
    log = Path(target.run(asked["run"]["id"]).build_log).read_text()
    assert status["status"] == "Completed", (status, log)
    assert "with uv" in log
    other = offer_of(b"another version of it")
    assert bare.ask("start", **request(plan, other))["outcome"] == "accepted"  # nothing is to be built


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["its libraries are missing", "unknown format", "not executable"])
def test_a_lent_program_that_does_not_run_there_gives_way_to_pip_and_is_not_sent_again(
    fault: str, target: Target, bare: Session, plan: dict[str, Any]
) -> None:
    content = b"\x7fELF of another kind" if fault == "unknown format" else BROKEN
    assert lend(bare, content) == {"kept": True}
    if fault == "not executable":  # as on a file system that is mounted noexec
        os.chmod(target.layout.tool(offer_of(content)["sha256"], "uv").program, 0o600)
    asked = request({**plan, "python": ">=3.8"}, offer_of(content))
    assert bare.ask("start", **asked)["outcome"] == "accepted"
    status = bare.wait(asked["run"]["id"])
    log = Path(target.run(asked["run"]["id"]).build_log).read_text()
    assert (status["status"], status["environment"]["reused"]) == ("Completed", False), log
    assert "warning: the uv that was sent here does not run" in log
    assert "with pip" in log


@pytest.fixture
def noexec_target(tmp_path: Path, supervisor_home: Path) -> Iterator[Target]:
    """Return a target whose root is a file system that is mounted noexec."""
    root = tmp_path / "noexec"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m,mode=700,noexec", "none", str(root)], check=True)
    try:
        with opened(root, supervisor_home) as target:
            yield target
            target.close()
            wait_until(lambda: not target.processes())
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


@pytest.mark.slow
@pytest.mark.needs("tmpfs")
def test_a_root_that_is_mounted_noexec_is_told_by_a_check_and_builds_with_pip(
    noexec_target: Target, plan: dict[str, Any]
) -> None:
    session = noexec_target.session(PATH=BARE_PATH)
    details = session.ask("check")["details"]
    assert details["mounts"]["root"]["type"] == "tmpfs"
    assert "noexec" in details["mounts"]["root"]["options"]
    assert details["disk"]["bytes"] == 300 * 1024 * 1024
    uv = Path(UV).read_bytes()
    assert lend(session, uv) == {"kept": True}
    asked = request(plan, offer_of(uv))
    assert session.ask("start", **asked)["outcome"] == "accepted"
    status = session.wait(asked["run"]["id"])
    log = Path(noexec_target.run(asked["run"]["id"]).build_log).read_text()
    assert status["status"] == "Completed", (status, log)
    assert "does not run (Permission denied)" in log


def clean(target: Target) -> dict[str, int]:
    removed = cleaning.keep_budget(target.layout, None, None)
    assert removed is not None
    return removed


def age(path: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_lent_program_goes_when_nobody_has_used_it_for_long(bare: Session, target: Target) -> None:
    assert lend(bare, BROKEN) == {"kept": True}
    tool = target.layout.tool(offer_of(BROKEN)["sha256"], "uv")
    age(tool.in_use, leftovers.TOOL_KEEP_S - HOUR)
    clean(target)
    assert os.path.exists(tool.program)
    age(tool.in_use, leftovers.TOOL_KEEP_S + HOUR)
    removed = clean(target)
    assert removed["tools"] == 1
    assert removed["bytes"] >= len(BROKEN)
    assert os.listdir(target.layout.tools) == []


def test_a_start_that_could_use_a_lent_program_keeps_it(bare: Session, target: Target, plan: dict[str, Any]) -> None:
    assert lend(bare, BROKEN) == {"kept": True}
    tool = target.layout.tool(offer_of(BROKEN)["sha256"], "uv")
    age(tool.in_use, leftovers.TOOL_KEEP_S + HOUR)
    assert bare.ask("start", **request(plan, offer_of(BROKEN), snapshot="a" * 64))["tools"] == []
    clean(target)
    assert os.path.exists(tool.program)


def test_a_lent_program_that_a_builder_holds_stays_however_old_it_looks(bare: Session, target: Target) -> None:
    assert lend(bare, BROKEN) == {"kept": True}
    tool = target.layout.tool(offer_of(BROKEN)["sha256"], "uv")
    age(tool.in_use, leftovers.TOOL_KEEP_S + HOUR)
    with open(tool.in_use) as builder:
        fcntl.flock(builder, fcntl.LOCK_SH)
        clean(target)
        assert os.path.exists(tool.program)
    clean(target)
    assert not os.path.exists(tool.folder)


def test_what_a_broken_transfer_left_of_a_program_goes_within_hours(bare: Session, target: Target) -> None:
    tool = target.layout.tool(offer_of(BROKEN)["sha256"], "uv")
    os.makedirs(tool.folder)
    Path(tool.folder, ".1.abcdefab.tmp").write_bytes(BROKEN[:5])
    age(tool.folder, leftovers.TEMPORARY_KEEP_S - HOUR / 2)
    clean(target)
    assert os.path.exists(tool.folder)
    Path(tool.in_use).touch()
    age(tool.in_use, leftovers.TEMPORARY_KEEP_S + HOUR)
    clean(target)
    assert not os.path.exists(tool.folder)
