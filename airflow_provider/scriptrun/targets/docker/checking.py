"""The ``check`` of an engine: asked, and judged by a pure function. Nothing judged here keeps a run from starting."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.targets.docker.engine_facts import EngineFacts, RegistryFacts, read_engine
from airflow_provider.scriptrun.targets.docker.registry_answers import Answer
from airflow_provider.scriptrun.targets.findings import TargetWarning, Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider.scriptrun.targets.docker.target import DockerTarget
    from airflow_provider.scriptrun.targets.status import TargetFacts

#: Docker 19.03: the first that gives GPUs to containers by itself, and the oldest that anybody still fixes.
OLDEST_API = (1, 40)
#: What the engine warns of in its own words, and we in ours.
_SAID_HERE = ("memory limit support", "swap limit support")
#: What is advised of the root of a host is to be done elsewhere where the root is a volume.
_ADVICE = {
    Trouble.LITTLE_SPACE: "Free some space on the engine's machine (docker system df says what takes it), or clean the "
    "target.",
    Trouble.FEW_INODES: "Remove files of the engine's machine that nobody needs.",
    Trouble.NETWORK_ROOT: "Name a volume in the connection that is on a disk of the engine's machine.",
    Trouble.NOEXEC_ROOT: "Name another volume in the connection, or mount this one exec.",
}


def ask_engine(target: DockerTarget) -> EngineFacts:
    """Ask an engine, and have it ask its registry. Raises :class:`TargetUnreachableError`, :class:`ProtocolError`.

    What no registry can keep from running is said, and raises nothing.
    """
    engine, base_image = target.engine, target.connection.base_image
    info = engine.call("its description", lambda client: client.info())
    version = engine.call("its version", lambda client: client.version())
    was_there = engine.image(base_image) is not None
    return read_engine(info, version, base_image=base_image, base_image_was_there=was_there, registry=_registry(target))


def complete(facts: TargetFacts, engine: EngineFacts) -> TargetFacts:
    """Return what the keeper found together with what the engine said, and all that will bite later."""
    ours = [replace(warning, advice=_ADVICE.get(warning.trouble, warning.advice)) for warning in facts.warnings]
    return replace(facts, engine=engine, warnings=(*judge_engine(engine), *ours))


def judge_engine(engine: EngineFacts) -> Iterator[TargetWarning]:
    """Yield what will bite later on this engine, the worst first."""
    registry = engine.registry
    if registry is not None and registry.admits.answer is not Answer.YES:
        why = f" ({registry.admits.why})" if registry.admits.why else ""
        yield TargetWarning(Trouble.REGISTRY, f"{_sentence(str(registry))}{why}", registry.admits.advice)
    if tuple(int(part) for part in engine.api_version.split(".") if part.isdigit()) < OLDEST_API:
        yield TargetWarning(
            Trouble.OLD_ENGINE,
            f"Docker {engine.version} speaks API {engine.api_version}, and not yet 1.40: GPUs and platforms of images "
            "are unknown to it",
            "Install Docker 19.03 or later there.",
        )
    if not engine.limits_memory:
        yield TargetWarning(
            Trouble.NO_MEMORY_LIMIT,
            "The engine cannot limit memory: a run takes what there is, whatever its --memory says",
            "Boot that machine with the memory control group (Debian: cgroup_enable=memory).",
        )
    if not engine.limits_swap:
        yield TargetWarning(
            Trouble.NO_SWAP_LIMIT,
            "The engine cannot limit swap: a run over its --memory swaps before it is ended",
            "Boot that machine with swapaccount=1, or without swap.",
        )
    for warning in engine.warnings:
        if not any(known in warning.lower() for known in _SAID_HERE):
            said = warning.removeprefix("WARNING: ").strip()
            yield TargetWarning(
                Trouble.ENGINE, f"The engine warns: {said.rstrip('.')}", "It is the engine's own setting: docker info."
            )


def _registry(target: DockerTarget) -> RegistryFacts | None:
    admits, own = target.registry.admits(), target.registry.connection
    return None if admits is None or own is None else RegistryFacts(own.address, own.username, admits)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
