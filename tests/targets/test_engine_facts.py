"""From what an engine says of itself to facts and warnings: read strictly, judged by a pure function, told in lines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider.scriptrun.errors import ProtocolError
from airflow_provider.scriptrun.targets.docker.checking import complete, judge_engine
from airflow_provider.scriptrun.targets.docker.engine_facts import EngineFacts, RegistryFacts, read_engine
from airflow_provider.scriptrun.targets.docker.registry_answers import Answer, Found, Obstacle
from airflow_provider.scriptrun.targets.findings import DiskFacts, TargetWarning, Trouble, summarize
from tests.targets.test_checking import FACTS, GB, HEALTHY

INFO: dict[str, Any] = {
    "Name": "gpu1",
    "ServerVersion": "28.2.2",
    "OperatingSystem": "Debian GNU/Linux 13",
    "OSType": "linux",
    "Architecture": "x86_64",
    "Driver": "overlay2",
    "DockerRootDir": "/var/lib/docker",
    "NCPU": 8,
    "MemTotal": 64 * GB,
    "MemoryLimit": True,
    "SwapLimit": True,
    "LiveRestoreEnabled": False,
    "Runtimes": {"runc": {"path": "runc"}},
    "SecurityOptions": ["name=seccomp,profile=builtin"],
    "Warnings": None,
}
VERSION = {"Version": "28.2.2", "ApiVersion": "1.50"}


def read(version: Any = VERSION, registry: RegistryFacts | None = None, **changes: Any) -> EngineFacts:
    info = {**INFO, **changes}
    return read_engine(info, version, base_image="python:3.11-slim", base_image_was_there=True, registry=registry)


def admitted(answer: Answer, user: str | None, obstacle: Obstacle | None = None) -> RegistryFacts:
    return RegistryFacts("r.example.com", user, Found(answer, obstacle, "" if answer is Answer.YES else "its words"))


def test_a_healthy_engine_is_told_without_a_warning() -> None:
    assert list(judge_engine(read())) == []
    first, second, *rest = read().lines(DiskFacts(100 * GB, 60 * GB, 0, 0))
    assert first == (
        "gpu1: Docker 28.2.2 (API 1.50) on Debian GNU/Linux 13, linux/x86_64, 8 CPUs, 64.0 GB of memory, "
        "no GPU runtime, 60.0 of 100.0 GB free"
    )
    assert second == (
        "overlay2 in /var/lib/docker, run by root, containers end when the engine is restarted (live-restore off)"
    )
    assert rest == ["base image python:3.11-slim is there"]


def test_an_engine_may_be_rootless_keep_containers_and_give_gpus() -> None:
    found = read(SecurityOptions=["name=rootless"], LiveRestoreEnabled=True, Runtimes={"nvidia": {}, "runc": {}})
    assert (found.is_rootless, found.live_restore, found.gpus) == (True, True, "GPUs by the runtime nvidia")
    assert "rootless, containers outlive a restart" in found.lines()[1]
    devices = [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}, {"Source": "cdi", "ID": "example.com/net=1"}]
    assert read(DiscoveredDevices=devices).gpus == "GPUs nvidia.com/gpu=0"


def test_an_engine_that_says_less_is_read_all_the_same() -> None:
    found = read({"Version": "4.9", "ApiVersion": "1.41"}, ServerVersion=None, NCPU=None, MemTotal=None, Runtimes=None)
    assert (found.version, found.cpus, found.runtimes) == ("4.9", None, ())
    assert "None" not in "".join(found.lines())


@pytest.mark.parametrize("changes", [{"Architecture": None}, {"NCPU": "8"}, {"Runtimes": []}, {"Name": "x" * 5000}])
def test_what_no_engine_says_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="engine"):
        read(**changes)


@pytest.mark.parametrize(
    ("changes", "trouble", "words"),
    [
        ({"version": {"ApiVersion": "1.39"}}, Trouble.OLD_ENGINE, "API 1.39"),
        ({"MemoryLimit": False}, Trouble.NO_MEMORY_LIMIT, "--memory"),
        ({"SwapLimit": None, "Warnings": ["WARNING: No swap limit support"]}, Trouble.NO_SWAP_LIMIT, "swapaccount"),
        ({"Warnings": ["WARNING: API is accessible on http://0.0.0.0:2375"]}, Trouble.ENGINE, "warns: API is acc"),
        (
            {"registry": admitted(Answer.NO, "robot", Obstacle.REFUSED)},
            Trouble.REGISTRY,
            "does not let the user robot in (its words)",
        ),
        ({"registry": admitted(Answer.NO, None, Obstacle.REFUSED)}, Trouble.REGISTRY, "lets nobody in without a login"),
        (
            {"registry": admitted(Answer.UNKNOWN, None, Obstacle.UNREACHABLE)},
            Trouble.REGISTRY,
            "Registry r.example.com did not say whether it lets us in",
        ),
    ],
)
def test_what_will_bite_later_is_warned_of_alone_and_with_advice(
    changes: dict[str, Any], trouble: Trouble, words: str
) -> None:
    (warning,) = judge_engine(read(**changes))
    assert warning.trouble is trouble
    assert words in str(warning)
    assert warning.advice


@pytest.mark.parametrize(("user", "words"), [("robot", "lets the user robot in"), (None, "lets us in without a login")])
def test_a_registry_that_lets_us_in_is_no_warning(user: str | None, words: str) -> None:
    found = read(registry=admitted(Answer.YES, user))
    assert list(judge_engine(found)) == []
    assert f"registry r.example.com {words}" in found.lines()


def test_the_button_tells_in_one_line_what_the_engine_is_and_what_will_bite() -> None:
    warned = TargetWarning(Trouble.LITTLE_SPACE, "Only 1.0 of 100.0 GB are free", "Name another root.")
    facts = complete(replace(FACTS, details=HEALTHY, warnings=(warned,)), read(SwapLimit=False))
    assert [warning.trouble for warning in facts.warnings] == [Trouble.NO_SWAP_LIMIT, Trouble.LITTLE_SPACE]
    told = summarize(facts)
    assert "\n" not in told
    assert told.startswith("gpu1: Docker 28.2.2 (API 1.50) on")
    assert "60.0 of 100.0 GB free. overlay2" in told
    assert "Warning: The engine cannot limit swap" in told
    assert "docker system df" in told
    assert "another root" not in told
    assert facts.python in str(facts)
    assert str(facts).startswith(told.partition(". overlay2")[0])


def test_a_host_is_told_in_one_line_as_well() -> None:
    assert summarize(FACTS).split(". ")[0] == str(FACTS).splitlines()[0]
