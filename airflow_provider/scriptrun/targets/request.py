"""What a target is asked for, and how it answers: a start, and the files for it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from airflow_provider.scriptrun.supervisor.protocol.manifest import Entry
    from airflow_provider.scriptrun.targets.status import RunStatus

#: The grace between SIGTERM and SIGKILL where nobody says otherwise.
DEFAULT_GRACE_S = 30.0
#: A run that nobody watched for so long ends itself, where nobody says otherwise.
DEFAULT_ORPHAN_AFTER_S = 86_400.0
#: Called with (bytes sent so far, bytes in all).
Progress = Callable[[int, int], None]


class Outcome(enum.Enum):
    """How a target answers a ``start``."""

    ACCEPTED = "accepted"  #: the run exists, and something that outlives us looks after it
    MISSING = "missing"  #: send the snapshots that it names, then ask again; nothing has happened yet
    SUPERSEDED = "superseded"  #: a later try of the same task was here; nothing was touched
    CANCELED = "canceled"  #: it had been cancelled before it started; nothing will run


@dataclass(frozen=True)
class Attempt:
    """Which try of a task asks.

    :param try_number: from 1; grows with every try.
    :param max_tries: Airflow's number for the task instance: a clear raises it.
    :param clear_number: of the DAG run: how often it was cleared.
    :param delivered: whether the latest run of this lineage had been handed over, as the last act of its try.
    """

    try_number: int = 1
    max_tries: int = 0
    clear_number: int = 0
    delivered: bool = False


@dataclass(frozen=True)
class Limits:
    """What bounds a run, and what is kept on the target. Seconds and bytes; ``None`` is no bound.

    :param max_run_duration_s: of the script itself; over it, the run is Failed with reason ``timeout``.
    :param grace_s: between SIGTERM and SIGKILL.
    :param orphan_after_s: a run that nobody polled for so long ends itself; ``None``: never.
    :param max_runs: how many runs the target executes at once; the rest is Queued.
    :param budget_bytes: how much disk finished runs and sent files may take.
    :param budget_age_s: after which they are removed, whatever they take.
    :param environment_budget_bytes: how much disk environments may take.
    :param environment_age_s: after which an environment that nobody used is removed.
    """

    max_run_duration_s: float | None = None
    grace_s: float = DEFAULT_GRACE_S
    orphan_after_s: float | None = DEFAULT_ORPHAN_AFTER_S
    max_runs: int | None = None
    budget_bytes: int | None = None
    budget_age_s: float | None = None
    environment_budget_bytes: int | None = None
    environment_age_s: float | None = None


@dataclass(frozen=True)
class StagedInput:
    """What is to stand at ``inputs/<name>``, as a copy of the run's own.

    :param snapshot_id: of the data, which is sent as any snapshot is.
    :param is_file: the snapshot holds one file and nothing else, and ``inputs/<name>`` is to be that file.
    """

    snapshot_id: str
    is_file: bool = False


@dataclass(frozen=True)
class StartRequest:
    """All that a run needs, but for the files of its snapshots.

    :param run_id: 1 to 128 of ``A-Z a-z 0-9 _ . -``, first a letter or digit; asked for twice it is one run.
    :param lineage: names what a later try comes back to: a uuid.
    :param argv: the command; never goes through a shell.
    :param snapshot_id: ``None``: no files (with an empty ``argv``: only the environment is prepared).
    :param inputs: by the name under which the script finds each in ``inputs/``.
    :param environment: the plan's document, see ``environments/plan.py``.
    :param secret_environment: the plan's secrets; live in memory only.
    :param variables: for the script.
    :param secret_variables: for the script; written nowhere.
    :param inherit: names and patterns (``CUDA_*``) of the target's own variables that the script may see.
    :param context: what ``Run.get_context()`` offers to the script: plain JSON, no secrets.
    :param bases: ids of snapshots that this one may be a small change of, likeliest first.
    :param container: options of the container that it runs in, where the target runs containers: what
        ``config/docker_arguments.py`` describes. It never travels to a supervisor.
    """

    run_id: str
    lineage: str
    experiment: str
    argv: tuple[str, ...] = ()
    snapshot_id: str | None = None
    inputs: Mapping[str, StagedInput] = field(default_factory=dict)
    attempt: Attempt = Attempt()
    environment: Mapping[str, Any] = field(default_factory=dict)
    secret_environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    variables: Mapping[str, str] = field(default_factory=dict)
    secret_variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    inherit: tuple[str, ...] = ()
    limits: Limits = Limits()
    context: Mapping[str, Any] = field(default_factory=dict)
    bases: tuple[str, ...] = ()
    container: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Started:
    """The answer to a ``start``.

    :param run_id: the run that there is now: the one asked for, or the one that was joined; with ``SUPERSEDED``, the
        newer try's; with ``MISSING``, the one asked for.
    :param status: with ``ACCEPTED``.
    :param joined: the run was there before this request.
    :param previous: runs of this lineage that ended otherwise, and whose outputs may be collected.
    :param try_number: with ``SUPERSEDED``: of the later try.
    :param lent: programs that the target had none of, and was sent for this start.
    :param base: with ``MISSING``: which of the request's ``bases`` is there; its manifest makes the ``send`` smaller.
    :param missing: with ``MISSING``: the ids of the snapshots to send, of the files and of inputs.
    """

    outcome: Outcome
    run_id: str
    status: RunStatus | None = None
    joined: bool = False
    previous: tuple[str, ...] = ()
    try_number: int | None = None
    base: str | None = None
    missing: tuple[str, ...] = ()
    lent: tuple[str, ...] = ()


class SnapshotSource(Protocol):
    """What ``send`` needs of a snapshot; ``snapshot.Snapshot`` is one."""

    @property
    def id(self) -> str:
        """Its id, the sha256 of its manifest."""

    @property
    def manifest(self) -> bytes:
        """Its canonical manifest."""

    @property
    def entries(self) -> Sequence[Entry]:
        """What the manifest says, in its order."""

    def open_blob(self, sha256: str, /) -> Iterable[bytes]:
        """Return the content of one file. Reading raises :class:`SnapshotChangedError` by name when it is another."""


@dataclass(frozen=True)
class Sent:
    """What a ``send`` had to bring: nothing, when the target had it all.

    :param files: how many blobs travelled (files with the same content travel once).
    :param bytes: of content.
    :param wire_bytes: what was written to the link for it, as far as is known: compressed, and all that is around it.
    :param started: the answer to the start that followed, if one did.
    """

    files: int = 0
    bytes: int = 0
    wire_bytes: int = field(default=0, compare=False)
    started: Started | None = field(default=None, compare=False)
