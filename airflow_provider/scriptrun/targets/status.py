"""What a target says about a run, and about itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
    from airflow_provider.scriptrun.targets.docker.engine_facts import EngineFacts
    from airflow_provider.scriptrun.targets.findings import Details, TargetWarning
    from airflow_provider.scriptrun.targets.request import Attempt


@dataclass(frozen=True)
class HostFacts:
    """Which machine.

    :param id: of the machine; survives a reboot. Another id is another host: nothing of ours is there.
    :param boot_id: of its current boot; empty where there is none.
    :param name: for people.
    """

    id: str
    boot_id: str = ""
    name: str = ""


@dataclass(frozen=True)
class EnvironmentFacts:
    """What a run's environment turned out to be.

    :param id: its key, a sha256.
    :param reused: nothing was built for this run.
    :param interpreter: absolute path on the target.
    :param python: its version.
    :param packages: how many packages its exact list has; ``None`` where there is no list.
    """

    id: str
    kind: str
    reused: bool
    interpreter: str
    python: str
    packages: int | None = None


@dataclass(frozen=True)
class RunStatus:
    """What a target says about a run. Times are aware and in UTC; phases are seconds by name.

    :param serial: grows with every change; a poll that has seen it waits for the next.
    :param is_unresolvable: with reason ``environment``: an index answered, and no versions satisfy the requirements, so
        that asking again is useless.
    :param last_lines: the end of the log (or of the build's log) when it failed: at most 20 lines, 8 KB.
    :param supervisor: the version that started the run.
    :param document: the target's own words, as plain JSON: the fields above are what can be relied on.
    """

    serial: int
    status: Status
    reason: Reason | None = None
    message: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    environment: EnvironmentFacts | None = None
    command: tuple[str, ...] = ()
    host: HostFacts | None = None
    supervisor: str | None = None
    last_lines: str | None = None
    attempt: Attempt | None = None
    is_unresolvable: bool = False
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_terminal(self) -> bool:
        """Whether nothing will change any more."""
        return self.status.is_terminal


@dataclass(frozen=True)
class TargetFacts:
    """What a target says about itself: all that the Test button shows.

    :param supervisor: version of the supervisor that answers there.
    :param tools: program name -> absolute path on the target (``uv``, ``conda``, ``docker``, ...).
    :param free_bytes: on the file system of the root.
    :param details: what only a check finds out.
    :param engine: of the target's containers, where a check found one; the other fields are of a container then.
    :param warnings: what a check found that will bite later.
    """

    host: HostFacts
    root: str
    user: str
    python: str
    interpreter: str
    implementation: str
    system: str
    machine: str
    libc: str | None
    supervisor: str
    protocol: int
    tools: Mapping[str, str] = field(default_factory=dict)
    free_bytes: int | None = None
    details: Details | None = field(default=None, compare=False)
    engine: EngineFacts | None = field(default=None, compare=False)
    warnings: tuple[TargetWarning, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        from airflow_provider.scriptrun.targets.findings import describe

        return describe(self)
