"""The contract that every compute target keeps: seven verbs. ``tests/conformance/`` holds any target to it.

To write a target of your own: subclass :class:`ComputeTarget` (for what runs a command on a Linux host, write a
``transports.base.Transport`` and use ``host.HostTarget`` as it is), give ``registry.register`` its connection type, and
add one entry to ``tests/conformance/targets.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from airflow_provider.scriptrun.errors import NotSupportedError, UnknownRunError
from airflow_provider.scriptrun.supervisor.protocol.status import Reason
from airflow_provider.scriptrun.targets.handle import Handle
from airflow_provider.scriptrun.targets.news import (
    Cursor,
    FetchedFile,
    Listing,
    News,
    RemoteFile,
    Stream,
    StreamPart,
)
from airflow_provider.scriptrun.targets.request import (
    Attempt,
    Limits,
    Outcome,
    Progress,
    Sent,
    SnapshotSource,
    StagedInput,
    Started,
    StartRequest,
)
from airflow_provider.scriptrun.targets.status import EnvironmentFacts, HostFacts, RunStatus, TargetFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    from airflow_provider.scriptrun.targets.wake import Wake

__all__ = [
    "Attempt",
    "ComputeTarget",
    "Cursor",
    "EnvironmentFacts",
    "FetchedFile",
    "Handle",
    "HostFacts",
    "Limits",
    "Listing",
    "News",
    "Outcome",
    "RemoteFile",
    "RunStatus",
    "Sent",
    "SnapshotSource",
    "StagedInput",
    "StartRequest",
    "Started",
    "Stream",
    "StreamPart",
    "TargetFacts",
]

#: How long a poll waits on the target for news: a broken connection, or a hung-up reader, is noticed in that time.
DEFAULT_POLL_WAIT_S = 20.0
#: What one poll brings at most, over all runs and streams: what a reader holds in memory.
DEFAULT_POLL_BYTES = 4 * 1024 * 1024
#: How long ``cancel`` waits for the death of everything, beyond the run's own grace.
DEFAULT_CANCEL_WAIT_S = 60.0

Target = TypeVar("Target", bound="ComputeTarget")


class ComputeTarget(ABC):
    """A place where runs happen.

    Guarantees of every verb:

    1. No verb needs state in memory: a :class:`Handle` and a new object, in another process, are enough to come back.
    2. Every verb is idempotent, and may be tried again after :class:`TargetUnreachableError`; a second ``start`` of the
       same run id is the same run.
    3. What a run does never depends on the life of the caller or its connection.
    4. Whatever comes back is checked (types, lengths, known values) before it is used; :class:`ProtocolError` says what
       was wrong. No verb waits for ever.
    5. No secret of a :class:`StartRequest` reaches an argument vector, a file or a log.
    6. Safe to use from several threads; a ``poll`` that waits does not hold up a ``cancel``.

    Errors of every verb: :class:`TargetUnreachableError` (try again later, never elsewhere),
    :class:`TargetRefusedError` (it answered, and cannot), :class:`OtherHostError` (this is another machine than the one
    that the target was opened for), :class:`ProtocolError`.

    :ivar target_type: the kind of target, for instance ``local``.
    :ivar name: the Airflow connection id that names it, or ``local``.
    :ivar max_runs: how many runs its connection allows at once, for the limits of a request; ``None``: not said there.
    :ivar index_url: the package index for builds there, in place of the settings'; ``None``: not said there.
    :ivar ca_file: on the worker, the same of the certificates that it is checked against.
    :ivar root: where it keeps everything of ours: a folder, or what its kind has in the place of one.
    """

    target_type: str
    name: str
    root: str
    max_runs: int | None = None
    index_url: str | None = None
    ca_file: str | None = None

    @abstractmethod
    def check(self) -> TargetFacts:
        """Reach the target and say what is there.

        1. It takes the same way as a run: when it succeeds, a run without special needs can start there.
        2. It changes nothing but what the first run would also do (the root, the supervisor's own files).
        """

    def host(self, *, anew: bool = False) -> HostFacts:
        """Return which machine this is, and prepare for the next verb.

        1. Where an earlier target has learned it, it may be said from memory. It holds all the same: from here on every
           verb raises :class:`OtherHostError` on another machine, before anything has happened there.
        2. It costs no command of its own beyond making the connection, where it is said from memory.

        :param anew: ask, whatever is remembered.
        """
        del anew  # nothing is remembered
        return self.check().host

    @abstractmethod
    def start(self, request: StartRequest) -> Started:
        """Make the run happen, or say what is missing for it.

        1. *Optimistic*: it carries ids. When the target has the snapshots, this is the only command needed; else the
           answer names those that it lacks, of the files and of inputs.
        2. *Exactly one*: whatever is repeated, raced or killed, a run id runs at most once, and a lineage has at most
           one run alive. The design's rules decide which run is the answer; see :class:`Started`.
        3. ``ACCEPTED`` means that the run's folder exists and a process that outlives the caller looks after it;
           making the working copy and the environment is the run's own first phase, and its failure the run's end.
        4. ``MISSING``, ``SUPERSEDED`` and ``CANCELED`` touched nothing.
        """

    @abstractmethod
    def send(
        self,
        snapshot: SnapshotSource,
        *,
        base: bytes | None = None,
        progress: Progress | None = None,
        then: Callable[[Sent], StartRequest] | None = None,
    ) -> Sent:
        """Bring the blobs that the target lacks, so that ``start`` is accepted.

        1. Only those travel, each once, as one stream; nothing, when nothing is missing.
        2. Each is verified on arrival and kept: after a broken connection, only the rest travels.
        3. A file that is not what was hashed any more raises :class:`SnapshotChangedError`; nothing wrong is kept.

        :param base: the manifest of a snapshot that the target said to have: what did not change need not be told.
        :param then: called with what has been sent, when all of it is on its way; returns what to start right behind
            it. A target may leave it: ``started`` is ``None`` then. Tried again, it may be called again.
        """

    def prepare(self, request: StartRequest) -> Started:
        """Build the environment of ``request`` ahead of time: a run of its own, without snapshot and script.

        1. It is watched, cancelled and read like any run; Completed means that the environment is there to be reused.
        """
        return self.start(replace(request, snapshot_id=None, inputs={}, argv=()))

    @abstractmethod
    def poll(
        self,
        cursors: Iterable[Cursor],
        *,
        wait_s: float = DEFAULT_POLL_WAIT_S,
        max_bytes: int = DEFAULT_POLL_BYTES,
        wake: Wake | None = None,
    ) -> list[News]:
        """Return what is new since the cursors, of many runs in one request.

        1. It returns at once when there is news, else as soon as there is some, else empty after ``wait_s``.
        2. A run's status was read before its streams: see :class:`News`.
        3. Bytes come in order and without a gap; the same cursor gives the same bytes again. At most ``max_bytes`` in
           all, but for a share of at most 64 KB that every run gets, however many there are.
        4. It renews the lease of every run that it names; one that was renewed a moment ago (a tenth of its term, at
           most 30 s) counts as renewed.
        5. A run that cannot be spoken about has ``error`` in its news; the others are not affected.
        6. ``wake`` makes it return early, with what it has. A target that cannot be interrupted may ignore it: it hears
           of another run when it is asked the next time.
        """

    @abstractmethod
    def cancel(
        self,
        run_id: str,
        *,
        lineage: str | None = None,
        reason: Reason = Reason.CANCELED,
        wait_s: float = DEFAULT_CANCEL_WAIT_S,
    ) -> RunStatus:
        """End a run: SIGTERM to its whole tree, SIGKILL after its grace.

        1. A terminal status means that every process of the run was seen gone, double-forked and ``setsid`` ones too.
        2. Not over after ``wait_s``: the status so far is returned (``CancelRequested``), and the target goes on.
        3. A run that has not started never will: its later ``start`` is answered ``CANCELED``.
        4. A run that is over stays as it ended.
        """

    @abstractmethod
    def files(self, run_id: str, *, hashed: bool = True) -> Listing:
        """Return what ``fetch`` can bring: regular files only, nothing through links that leave the run's folder.

        :param hashed: with the sha256 of each, for which the target reads them all.
        """

    @abstractmethod
    def fetch(self, run_id: str, paths: Iterable[str | tuple[str, int]]) -> Iterator[FetchedFile]:
        """Bring files of a run, in the order asked for; ``(path, offset)`` begins at that byte.

        1. Each file is streamed: memory does not grow with its size.
        2. What is read was verified when the last chunk has come.
        3. The next file comes when the chunks of the one before were read, or given up.
        """

    def status(self, run_ids: Iterable[str]) -> dict[str, RunStatus]:
        """Return the status of the runs that the target knows, without waiting. It does not count as watching them."""
        news = self.poll([Cursor(run_id, offsets={}) for run_id in run_ids], wait_s=0)
        for item in news:
            if item.error is not None and not isinstance(item.error, UnknownRunError):
                raise item.error
        return {item.run_id: item.status for item in news if item.status is not None}

    def collected(self, run_id: str) -> None:
        """Say that all that is wanted of a run that is over has been stored: it may be removed before its time."""
        del run_id  # a target that keeps no house has nothing to note

    def clean(self, limits: Limits) -> Mapping[str, int]:
        """Remove what is over the budgets and ages of ``limits`` and not in use; return how much of what, and bytes."""
        del limits
        raise NotSupportedError(f"The target {self.name} ({self.target_type}) keeps its own house")

    @abstractmethod
    def handle(self, started: Started | str, lineage: str) -> Handle:
        """Return the handle of a run, by its ``start``'s answer or its id. Its host is known once it answered."""

    @abstractmethod
    def close(self) -> None:
        """Let go of connections; a call that waits in another thread ends with :class:`TargetUnreachableError`.

        Safe to call twice. Runs do not notice.
        """

    def __enter__(self: Target) -> Target:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
