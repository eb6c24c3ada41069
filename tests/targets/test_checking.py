"""From what a host says of itself to facts and warnings: read strictly, judged by a pure function, told in lines."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider.scriptrun.errors import ProtocolError
from airflow_provider.scriptrun.targets.checking import clock_ahead
from airflow_provider.scriptrun.targets.contract import TargetFacts
from airflow_provider.scriptrun.targets.findings import Details, DiskFacts, LoginFacts, MountFacts, Trouble
from airflow_provider.scriptrun.targets.host import HostTarget
from airflow_provider.scriptrun.targets.judging import judge
from airflow_provider.scriptrun.targets.parse import target_facts
from tests.targets.fakes import ScriptedProcess, ScriptedTransport, said
from tests.targets.test_parse import HELLO

GB = 10**9
DETAILS: dict[str, Any] = {
    "machine": {"os": "Debian 12", "kernel": "6.1", "cpus": 8, "memory_bytes": 16 * GB, "gpus": ["A100", "A100"]},
    "disk": {"bytes": 100 * GB, "free_bytes": 60 * GB, "inodes": 10**7, "free_inodes": 10**6},
    "mounts": {"root": {"folder": "/r", "path": "/", "type": "ext4", "options": ["rw"]}, "home": None},
    "login": {"in_session": False, "kills": False, "lingers": False},
    "programs": {
        "versions": {"git": "2.39", "docker": None},
        "more": {"git": "/usr/bin/git"},
        "venv": True,
        "ensurepip": True,
    },
    "locale": "C",
    "clock": {"came_at": 1.0, "answered_at": 2.0},
}
FACTS: TargetFacts = replace(target_facts(HELLO), tools={})
HEALTHY = Details(
    os="Debian 12",
    kernel="6.1",
    cpus=8,
    memory_bytes=16 * GB,
    clock_ahead_s=0.1,
    disk=DiskFacts(bytes=100 * GB, free_bytes=60 * GB, inodes=10**7, free_inodes=10**6),
    login=LoginFacts(),
    locale="C.UTF-8",
    venv=True,
    ensurepip=True,
    mounts={
        "root": MountFacts("/home/ann/.scriptrun", "/", "ext4", ("rw",)),
        "home": MountFacts("/home/ann", "/", "ext4", ("rw",)),
        "temporary": MountFacts("/tmp", "/tmp", "tmpfs", ("rw",)),
    },
)


def on(name: str, kind: str, *options: str) -> dict[str, MountFacts]:
    return {**HEALTHY.mounts, name: MountFacts(f"/the/{name}", f"/the/{name}", kind, options)}


def troubles(details: Details, facts: TargetFacts = FACTS, *, uv_can_be_sent: bool = False) -> list[Trouble]:
    return [warning.trouble for warning in judge(facts, details, uv_can_be_sent=uv_can_be_sent)]


def test_a_healthy_host_has_no_warnings() -> None:
    assert troubles(HEALTHY) == []


@pytest.mark.parametrize(
    ("changes", "trouble", "words"),
    [
        ({"login": LoginFacts(in_session=True, kills=True)}, Trouble.LOGOUT_KILLS, "KillExcludeUsers"),
        ({"login": LoginFacts(in_session=True, kills=True, lingers=True)}, Trouble.LOGOUT_KILLS, "KillUserProcesses"),
        ({"mounts": on("root", "nfs4")}, Trouble.NETWORK_ROOT, "nfs4"),
        ({"mounts": on("root", "fuse.sshfs")}, Trouble.NETWORK_ROOT, "fuse.sshfs"),
        ({"mounts": on("home", "cifs")}, Trouble.NETWORK_HOME, "UV_CACHE_DIR"),
        ({"mounts": on("root", "ext4", "noexec")}, Trouble.NOEXEC_ROOT, "noexec"),
        ({"mounts": on("temporary", "tmpfs", "noexec")}, Trouble.NOEXEC_TEMPORARY, "TMPDIR"),
        ({"disk": DiskFacts(100 * GB, GB - 1, 0, 0)}, Trouble.LITTLE_SPACE, "1.0 of 100.0 GB"),
        ({"disk": DiskFacts(100 * GB, 4 * GB, 0, 0)}, Trouble.LITTLE_SPACE, "4.0 of 100.0 GB"),
        ({"disk": DiskFacts(100 * GB, 60 * GB, 10**6, 100)}, Trouble.FEW_INODES, "100 more files"),
        ({"venv": False}, Trouble.NO_BUILDER, "lacks venv"),
        ({"ensurepip": False}, Trouble.NO_BUILDER, "-venv"),
        ({"clock_ahead_s": 3600.0}, Trouble.CLOCK, "3600 s ahead"),
        ({"clock_ahead_s": -61.0}, Trouble.CLOCK, "61 s behind"),
    ],
)
def test_what_will_bite_later_is_warned_of_alone_and_with_advice(
    changes: dict[str, Any], trouble: Trouble, words: str
) -> None:
    (warning,) = judge(FACTS, replace(HEALTHY, **changes), uv_can_be_sent=False)
    assert warning.trouble is trouble
    assert words in str(warning)
    assert warning.advice


@pytest.mark.parametrize(
    "changes",
    [
        {"login": LoginFacts(in_session=False, kills=True)},
        {"login": LoginFacts(in_session=True, kills=False)},
        {"disk": DiskFacts(10**13, 60 * GB, 0, 0)},  # less than 5 %, and enough all the same
        {"ensurepip": False, "versions": {"pip": "23.0"}},
        {"clock_ahead_s": 60.0},
        {"mounts": {}},
    ],
)
def test_what_does_not_bite_is_not_warned_of(changes: dict[str, Any]) -> None:
    assert troubles(replace(HEALTHY, **changes)) == []


def test_a_uv_that_is_there_or_can_be_sent_needs_no_other_builder() -> None:
    bare = replace(HEALTHY, venv=False, ensurepip=False)
    assert troubles(bare, replace(FACTS, tools={"uv": "/usr/bin/uv"})) == []
    assert troubles(bare, uv_can_be_sent=True) == []


@given(
    ahead=st.floats(-1e6, 1e6),
    there=st.floats(0, 100),
    back=st.floats(0, 100),
    work=st.floats(0, 100),
)
def test_a_clock_is_measured_to_half_the_time_on_the_way(ahead: float, there: float, back: float, work: float) -> None:
    came_at = 1e6 + there + ahead
    measured = clock_ahead(1e6, came_at, came_at + work, 1e6 + there + work + back)
    assert abs(measured - ahead) <= (there + back) / 2 + 1e-6


def checked(details: Any) -> TargetFacts:
    process = ScriptedProcess(said({**HELLO, "details": details}), hangs=True)
    return HostTarget(ScriptedTransport(process), name="vm", root="~/.scriptrun").check()


def test_facts_and_warnings_are_told_in_a_few_lines() -> None:
    facts = checked(DETAILS)
    assert [warning.trouble for warning in facts.warnings] == [Trouble.CLOCK]
    text = str(facts)
    for part in (
        "Debian 12",
        "8 CPUs",
        "2 x A100",
        "60.0 of 100.0 GB",
        "git 2.39 (/usr/bin/git)",
        "Warning: Its clock",
    ):
        assert part in text
    assert len(text.splitlines()) == 6


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("machine", "cpus"), "8"),
        (("machine", "gpus"), ["x" * 5000]),
        (("machine",), None),
        (("disk", "free_bytes"), -1),
        (("disk", "inodes"), 1.5),
        (("mounts", "root"), ["ext4"]),
        (("mounts", "root", "type"), None),
        (("login", "kills"), "yes"),
        (("programs", "versions"), []),
        (("programs", "versions", "git"), 2),
        (("programs", "more", "git"), {}),
        (("clock", "came_at"), "now"),
        (("clock", "answered_at"), float("inf")),
        (("locale",), 7),
    ],
)
def test_a_check_that_is_answered_wrongly_is_refused(path: tuple[str, ...], value: Any) -> None:
    details = copy.deepcopy(DETAILS)
    place = details
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(ProtocolError):
        checked(details)
