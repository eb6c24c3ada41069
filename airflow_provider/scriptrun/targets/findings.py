"""What a check finds on a host beyond a greeting, and what it warns of: values, and the lines that a person reads."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider.scriptrun.targets.status import TargetFacts

GIGABYTE = 1e9
#: Less than this of difference between two clocks is not worth a word: a request takes that long.
_SAME_CLOCK_S = 1.0


class Trouble(enum.Enum):
    """What will bite later."""

    CLOCK = "clock"  #: it is set wrong, there or here
    NETWORK_ROOT = "network_root"  #: the root is on a file system of another machine
    NETWORK_HOME = "network_home"  #: the home folder is, and the root is not
    NOEXEC_ROOT = "noexec_root"  #: nothing under the root may be executed
    NOEXEC_TEMPORARY = "noexec_temporary"  #: nothing in the folder for temporary files may be executed
    LOGOUT_KILLS = "logout_kills"  #: runs end with the connection that started them
    LITTLE_SPACE = "little_space"
    FEW_INODES = "few_inodes"
    NO_BUILDER = "no_builder"  #: environments from pip requirements cannot be built
    REGISTRY = "registry"  #: the connection's registry does not let us in, or nobody can tell
    OLD_ENGINE = "old_engine"  #: it lacks what we may ask of it
    NO_MEMORY_LIMIT = "no_memory_limit"
    NO_SWAP_LIMIT = "no_swap_limit"
    ENGINE = "engine"  #: what it warns of itself


@dataclass(frozen=True)
class TargetWarning:
    """A run can start there, and this will bite later.

    :param message: what is so, and what comes of it.
    :param advice: what to do about it.
    """

    trouble: Trouble
    message: str
    advice: str

    def __str__(self) -> str:
        return f"{self.message}. {self.advice}"


@dataclass(frozen=True)
class MountFacts:
    """The file system under a folder.

    :param folder: the folder that was asked about.
    :param path: where the file system is mounted.
    :param type: for instance ``ext4`` or ``nfs4``.
    """

    folder: str
    path: str
    type: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class DiskFacts:
    """The size of the root's file system. With 0 inodes in all, it makes them as they are needed."""

    bytes: int
    free_bytes: int
    inodes: int
    free_inodes: int


@dataclass(frozen=True)
class LoginFacts:
    """What systemd-logind does when a login ends.

    :param in_session: whether what we start there belongs to a login's session.
    :param kills: whether what is left of a session is killed.
    :param lingers: whether the user's service manager outlives the sessions.
    """

    in_session: bool = False
    kills: bool = False
    lingers: bool = False


@dataclass(frozen=True)
class Details:
    """What a check finds beyond a greeting.

    :param os: its name for people.
    :param cpus: those that our processes may use.
    :param clock_ahead_s: how far its clock is ahead of ours (negative: behind), as far as a round trip can tell.
    :param mounts: under ``root``, ``home`` and ``temporary``, where known.
    :param versions: of the programs that said theirs.
    :param venv: whether its Python can make virtual environments; ``ensurepip``: with pip in them.
    """

    os: str | None
    kernel: str | None
    cpus: int | None
    memory_bytes: int | None
    clock_ahead_s: float
    disk: DiskFacts
    login: LoginFacts
    locale: str
    venv: bool
    ensurepip: bool
    gpus: tuple[str, ...] = ()
    mounts: Mapping[str, MountFacts] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def describe(facts: TargetFacts) -> str:
    """Return the facts and warnings in a few lines: what the Test button shows."""
    lines = [
        *_engine(facts),
        f"{facts.host.name or facts.host.id}: {_system(facts)}",
        f"{facts.implementation} {facts.python} ({facts.interpreter}), as {facts.user}",
        f"root {facts.root}{_space(facts)}",
        _tools(facts),
    ]
    if facts.details is not None:
        lines.append(f"clock: {_clock(facts.details.clock_ahead_s)}")
    return "\n".join(lines + [f"Warning: {warning}" for warning in facts.warnings])


def summarize(facts: TargetFacts) -> str:
    """Return the same in one line; of an engine, without what is so in the container of its base image."""
    lines = describe(facts).splitlines()
    if facts.engine is not None:
        lines = [*_engine(facts), *(f"Warning: {warning}" for warning in facts.warnings)]
    return " ".join(line if line.endswith((".", "?")) else f"{line}." for line in lines)


def gigabytes(count: int) -> str:
    """Return a number of bytes for people."""
    return f"{count / GIGABYTE:.1f}"


def _engine(facts: TargetFacts) -> list[str]:
    disk = facts.details.disk if facts.details is not None else None
    return [] if facts.engine is None else facts.engine.lines(disk)


def _system(facts: TargetFacts) -> str:
    details = facts.details
    parts = [f"{facts.system} {facts.machine}", facts.libc]
    if details is None:
        return ", ".join(filter(None, parts))
    if details.kernel:
        parts[0] = f"{facts.system} {details.kernel} {facts.machine}"
    memory = None if details.memory_bytes is None else f"{details.memory_bytes / GIGABYTE:.1f} GB of memory"
    cpus = None if details.cpus is None else f"{details.cpus} CPU{'' if details.cpus == 1 else 's'}"
    gpus = [f"{details.gpus.count(model)} x {model}" for model in dict.fromkeys(details.gpus)]
    return ", ".join(filter(None, [details.os, *parts, cpus, memory, *gpus]))


def _space(facts: TargetFacts) -> str:
    details = facts.details
    if details is None:
        return "" if facts.free_bytes is None else f", {facts.free_bytes / GIGABYTE:.1f} GB free"
    root = details.mounts.get("root")
    kind = f" on {root.type}" if root is not None else ""
    return f"{kind}, {details.disk.free_bytes / GIGABYTE:.1f} of {details.disk.bytes / GIGABYTE:.1f} GB free"


def _tools(facts: TargetFacts) -> str:
    versions = facts.details.versions if facts.details is not None else {}
    return ", ".join(
        " ".join(filter(None, (name, versions.get(name), f"({path})"))) for name, path in sorted(facts.tools.items())
    ) or ("no further tools (uv, conda, docker)")


def _clock(ahead_s: float) -> str:
    if abs(ahead_s) < _SAME_CLOCK_S:
        return "the same as ours"
    return f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} ours"
