"""What the verbs of a target take and give: frozen values, checked where they come from a target (``parse.py``)."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider.scriptrun.errors import ConfigurationError, TargetError

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status

#: The grace between SIGTERM and SIGKILL where nobody says otherwise.
DEFAULT_GRACE_S = 30.0
#: A run that nobody watched for so long ends itself, where nobody says otherwise.
DEFAULT_ORPHAN_AFTER_S = 86_400.0


class Stream(str, enum.Enum):
    """What a poll reads by offset. Append-only files on the target; offsets count bytes."""

    RUN_LOG = "run.log"  #: every byte of the script's standard output and error
    BUILD_LOG = "build.log"  #: what preparing the working copy and the environment printed
    MESSAGES = "messages.jsonl"  #: metrics and tags: one JSON value a line


class Outcome(enum.Enum):
    """How a target answers a ``start``."""

    ACCEPTED = "accepted"  #: the run exists, and something that outlives us looks after it
    MISSING = "missing"  #: send the snapshot, then ask again; nothing has happened yet
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
    """

    max_run_duration_s: float | None = None
    grace_s: float = DEFAULT_GRACE_S
    orphan_after_s: float | None = DEFAULT_ORPHAN_AFTER_S
    max_runs: int | None = None
    budget_bytes: int | None = None
    budget_age_s: float | None = None


@dataclass(frozen=True)
class StartRequest:
    """All that a run needs, but for the files of its snapshot.

    :param run_id: 1 to 128 of ``A-Z a-z 0-9 _ . -``, first a letter or digit; asked for twice it is one run.
    :param lineage: names what a later try comes back to: a uuid.
    :param argv: the command; never goes through a shell.
    :param snapshot_id: ``None``: no files (with an empty ``argv``: only the environment is prepared).
    :param environment: the plan's document, see ``environments/plan.py``.
    :param secret_environment: the plan's secrets; live in memory only.
    :param variables: for the script.
    :param secret_variables: for the script; written nowhere.
    :param inherit: names and patterns (``CUDA_*``) of the target's own variables that the script may see.
    :param context: what ``Run.get_context()`` offers to the script: plain JSON, no secrets.
    """

    run_id: str
    lineage: str
    experiment: str
    argv: tuple[str, ...] = ()
    snapshot_id: str | None = None
    attempt: Attempt = Attempt()
    environment: Mapping[str, Any] = field(default_factory=dict)
    secret_environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    variables: Mapping[str, str] = field(default_factory=dict)
    secret_variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    inherit: tuple[str, ...] = ()
    limits: Limits = Limits()
    context: Mapping[str, Any] = field(default_factory=dict)


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
class Started:
    """The answer to a ``start``.

    :param run_id: the run that there is now: the one asked for, or the one that was joined; with ``SUPERSEDED``, the
        newer try's; with ``MISSING``, the one asked for.
    :param status: with ``ACCEPTED``.
    :param joined: the run was there before this request.
    :param previous: runs of this lineage that ended otherwise, and whose outputs may be collected.
    :param try_number: with ``SUPERSEDED``: of the later try.
    """

    outcome: Outcome
    run_id: str
    status: RunStatus | None = None
    joined: bool = False
    previous: tuple[str, ...] = ()
    try_number: int | None = None


@dataclass(frozen=True)
class Sent:
    """What a ``send`` had to bring: nothing, when the target had it all.

    :param files: how many blobs travelled (files with the same content travel once).
    :param bytes: of content.
    """

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Cursor:
    """Up to where a reader has followed a run. Small JSON (``document``), for whoever goes on after it.

    :param seen: serial of the last status that was read; -1 before the first.
    :param offsets: bytes read of each stream; a stream that is not named is not read.
    """

    run_id: str
    seen: int = -1
    offsets: Mapping[Stream, int] = field(default_factory=lambda: dict.fromkeys(Stream, 0))

    def after(self, news: News) -> Cursor:
        """Return where to go on, once ``news`` (of this run) has been dealt with."""
        offsets = dict(self.offsets)
        for part in news.parts:
            offsets[part.stream] = part.offset + len(part.data)
        return replace(self, seen=self.seen if news.status is None else news.status.serial, offsets=offsets)

    def document(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"run": self.run_id, "seen": self.seen, "offsets": {s.value: n for s, n in self.offsets.items()}}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Cursor:
        """Read what :meth:`document` made. Raises :class:`ConfigurationError`."""
        try:
            offsets = {Stream(name): _natural(value) for name, value in document["offsets"].items()}
            return cls(str(document["run"]), int(document["seen"]), offsets)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"This is no cursor: {document!r:.200}", why=repr(error)) from None


@dataclass(frozen=True)
class StreamPart:
    """Consecutive bytes of one stream.

    :param offset: of the first byte.
    :param size: of the whole stream when it was looked at: more than ``offset + len(data)`` means ask again.
    """

    stream: Stream
    offset: int
    data: bytes = field(repr=False)
    size: int

    @property
    def is_whole(self) -> bool:
        """Whether there was nothing behind it."""
        return self.offset + len(self.data) >= self.size


@dataclass(frozen=True)
class News:
    """What a poll has to say about one run: its status, read *before* its streams, and what is new in them.

    So a run is over, and all of its log read, when ``status.is_terminal`` and every part ``is_whole``.

    :param error: the target cannot speak about this run (:class:`UnknownRunError`, :class:`OtherHostError`, ...);
        there is no status then.
    """

    run_id: str
    status: RunStatus | None
    parts: tuple[StreamPart, ...] = ()
    error: TargetError | None = None

    def data(self, stream: Stream) -> bytes:
        """Return the new bytes of a stream."""
        return b"".join(part.data for part in self.parts if part.stream is stream)

    @property
    def is_last(self) -> bool:
        """Whether the run is over and nothing more will come from its streams."""
        return self.status is not None and self.status.is_terminal and all(part.is_whole for part in self.parts)


@dataclass(frozen=True)
class RemoteFile:
    """A regular file of a run that can be fetched. Its path is relative, with ``/``, and never leaves the run's folder.

    Paths: ``outputs/...``, ``logs/...``, ``run.log``, ``build.log``, ``messages.jsonl``, ``packages.txt``.
    A name that is not UTF-8 holds lone surrogates (PEP 383).

    :param sha256: of its content when it was listed; empty when that was not asked for.
    """

    path: str
    size: int
    sha256: str
    executable: bool = False


@dataclass(frozen=True)
class FetchedFile:
    """One file on its way. ``chunks`` is to be read to its end before the next file is asked for.

    :param size: of the whole file when it was opened.
    :param offset: where ``chunks`` begin.
    :param chunks: the bytes. Raises :class:`TargetError` when the file cannot be read (any more), at the end
        :class:`ProtocolError` when what came is not what the target says that it sent.
    """

    path: str
    size: int
    offset: int
    chunks: Iterator[bytes] = field(repr=False)


@dataclass(frozen=True)
class TargetFacts:
    """What a target says about itself: all that the Test button shows.

    :param supervisor: version of the supervisor that answers there.
    :param tools: program name -> absolute path on the target (``uv``, ``conda``, ``docker``, ...).
    :param free_bytes: on the file system of the root.
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

    def __str__(self) -> str:
        libc = f", {self.libc}" if self.libc else ""
        tools = ", ".join(f"{name} {path}" for name, path in sorted(self.tools.items())) or "no further tools"
        free = "" if self.free_bytes is None else f", {self.free_bytes / 1e9:.1f} GB free"
        return (
            f"{self.host.name or self.host.id}: {self.implementation} {self.python} ({self.interpreter}) on "
            f"{self.system} {self.machine}{libc}, as {self.user}; root {self.root}{free}; {tools}"
        )


@dataclass(frozen=True)
class Handle:
    """Everything needed to come back to a run, in any process, later: small plain JSON, no secrets.

    :param target: the target's type, for instance ``local``.
    :param connection: the Airflow connection id that names it, or ``local``.
    :param host_id: of the host that the run is on; empty until the target has answered once.
    :param root: the folder under which the target keeps it.
    :param supervisor: version that started it.
    :param protocol: number of the protocol that version speaks.
    """

    target: str
    connection: str
    host_id: str
    root: str
    run_id: str
    lineage: str
    supervisor: str
    protocol: int

    def document(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return dict(self.__dict__)

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(self.document(), sort_keys=True)

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | str) -> Handle:
        """Read what :meth:`document` or :meth:`to_json` made; unknown fields are a later release's, and are ignored.

        Raises :class:`ConfigurationError`.
        """
        try:
            values = json.loads(document) if isinstance(document, str) else document
            known = {name: values[name] for name in cls.__dataclass_fields__}
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"This is no handle of a run: {document!r:.200}", why=repr(error)) from None
        for name, value in known.items():
            if not isinstance(value, int if name == "protocol" else str):
                raise ConfigurationError(f"This is no handle of a run: {name} is {value!r:.200}")
        return cls(**known)


class SnapshotSource(Protocol):
    """What ``send`` needs of a snapshot; ``snapshot.Snapshot`` is one."""

    @property
    def id(self) -> str:
        """Its id, the sha256 of its manifest."""

    @property
    def manifest(self) -> bytes:
        """Its canonical manifest."""

    def open_blob(self, sha256: str, /) -> Iterable[bytes]:
        """Return the content of one file. Reading raises :class:`SnapshotChangedError` by name when it is another."""


#: Called with (bytes sent or fetched so far, bytes in all).
Progress = Callable[[int, int], None]
Cursors = Iterable[Cursor]


def _natural(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no number of bytes")
    return value
