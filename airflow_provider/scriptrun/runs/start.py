"""The start of one run on its target: asked for, sent what it lacks, accepted or joined."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider.scriptrun.errors import (
    ProtocolError,
    RunCanceledError,
    RunSupersededError,
    ScriptRunError,
    TargetRefusedError,
)
from airflow_provider.scriptrun.runs.crash_points import AFTER_START, crash_point
from airflow_provider.scriptrun.runs.lease import WATCHED_SECONDS, longest_silence_s
from airflow_provider.scriptrun.runs.progress import Progress, counted, readable
from airflow_provider.scriptrun.runs.reach import Patience, patience_without_run, reach
from airflow_provider.scriptrun.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider.scriptrun.runs.bases import Bases
    from airflow_provider.scriptrun.runs.inputs import Input
    from airflow_provider.scriptrun.runs.lineage import Lineage, LineageStore
    from airflow_provider.scriptrun.runs.reporter import Reporter
    from airflow_provider.scriptrun.runs.run_folder import RunFolder
    from airflow_provider.scriptrun.runs.surroundings import Surroundings
    from airflow_provider.scriptrun.runs.workspace import Workspace
    from airflow_provider.scriptrun.snapshot import Snapshot
    from airflow_provider.scriptrun.targets.contract import (
        ComputeTarget,
        Sent,
        SnapshotSource,
        Started,
        StartRequest,
    )


class _Parcel(NamedTuple):
    """A snapshot that the target lacks."""

    source: SnapshotSource
    facts: dict[str, Any]  #: what the document says of it
    of: str  #: for messages
    base: bytes | None = None  #: the manifest of one that the target has, and that this is a change of


@dataclass
class Start:
    """A start whose lineage is stored already.

    :param document: what the workspace keeps of it.
    :param folder: where.
    :param bases: what earlier snapshots of the same source directory were.
    :param given_id: the run id is the caller's.
    """

    target: ComputeTarget
    request: StartRequest
    document: dict[str, Any]
    ours: Lineage
    lineage: LineageStore
    workspace: Workspace
    folder: RunFolder
    surroundings: Surroundings
    reporter: Reporter
    should_stop: Callable[[], bool]
    bases: Bases
    given_id: bool

    def run(self, snapshot: Snapshot, inputs: Mapping[str, Input]) -> Run:
        """Ask for it, send what is missing, and return the run that there is now: this one, or the one joined.

        :param inputs: by name, as the request names them.

        Raises what :func:`.submission.submit` raises about targets and runs.
        """
        from airflow_provider.scriptrun.targets.contract import Outcome

        # Under an id of the caller's, an earlier submission may stand here: it stays, if that is the run that we join.
        earlier = self.folder.submission if self.given_id and self.folder.is_known() else None
        self.folder.put_submission(self.document)
        started = self._ask()
        if started.outcome is Outcome.MISSING:
            started = self._send_all(started, snapshot, inputs) or self._ask()
        if started.outcome is Outcome.MISSING:
            raise TargetRefusedError(
                f"The target {self.target.name} asks for snapshot {started.missing[0]} again after it was sent",
                advice="Is its disk full, or its root cleaned by something else?",
            )
        crash_point(AFTER_START)
        if started.outcome is Outcome.SUPERSEDED:
            self.folder.withdraw()
            raise RunSupersededError(
                f"A newer try ({started.try_number}) of this task has taken over with run {started.run_id}",
                advice="Nothing was touched; look at that try",
                run_id=started.run_id,
            )
        if started.outcome is Outcome.CANCELED:
            raise RunCanceledError(
                f"Run {self.request.run_id} was cancelled before it started", run_id=self.request.run_id
            )
        if earlier is not None and started.joined:
            self.folder.put_submission(earlier)
        self.bases.remember(snapshot)
        run = self._accepted(started)
        self._collect_previous(started)
        return run

    def _ask(self) -> Started:
        def ask() -> Started:
            # A snapshot may have been hours on its way, and from now on the run may be there.
            self._watched()
            return self.target.start(self.request)

        started = reach(self.reporter, ask, should_stop=self.should_stop, patience=self._patience())
        for program in started.lent:
            self.reporter.note(f"Sent {program} to {self.target.name}, which has none: it builds the environment.")
        return started

    def _patience(self) -> Patience:
        """Of a start that may have been heard, though no answer came: until a run of it has surely ended itself."""
        limits, at_least = self.request.limits, self.surroundings.settings.unreachable_after_seconds
        longest = longest_silence_s(orphan_after_s=limits.orphan_after_s, grace_s=limits.grace_s)
        return Patience(
            max(longest, at_least) if longest is not None and at_least else None,
            advice="If the start was heard, the run has ended itself by now, unwatched; the next try sees to it",
        )

    def _watched(self) -> None:
        """Store that somebody looks after the run of this lineage, if that was long ago."""
        if time.time() - self.ours.watched_at > WATCHED_SECONDS:
            self.ours = replace(self.ours, watched_at=time.time())
            self.ours.save(self.lineage)

    def _send_all(self, started: Started, snapshot: Snapshot, inputs: Mapping[str, Input]) -> Started | None:
        """Send what the target named, and the start right behind the last of it; return its answer, if it took both."""
        began = time.monotonic()
        parcels = {
            data.id: _Parcel(data, self.document["inputs"][name], f" of input {name}") for name, data in inputs.items()
        }
        base = self.bases.manifest(started.base) if started.base is not None else None
        parcels[snapshot.id] = _Parcel(snapshot, self.document["snapshot"], "", base)
        if unknown := set(started.missing) - set(parcels):
            raise ProtocolError(f"The target {self.target.name} asks for {unknown.pop()}, which this run does not need")
        *first, last = [parcel for snapshot_id, parcel in parcels.items() if snapshot_id in started.missing]
        for parcel in first:
            self._send(parcel, began, is_last=False)
        return self._send(last, began, is_last=True)

    def _send(self, parcel: _Parcel, began: float, *, is_last: bool) -> Started | None:
        """Send one snapshot, and the start right behind the last; return its answer, if the target takes both."""
        what = f"Sending files{parcel.of} to {self.target.name}"
        progress = Progress(self.reporter, what, is_terminal=self.surroundings.is_terminal)
        told = {"sent_files": 0, "sent_bytes": 0}

        def tell(sent: Sent) -> None:
            progress.finish()
            self.document["phases"]["send"] = round(time.monotonic() - began, 3)
            for name, count in (("sent_files", sent.files), ("sent_bytes", sent.bytes)):
                told[name] = max(told[name], count)  # a later try may find that all of it had arrived
            parcel.facts.update(told)

        def start(sent: Sent) -> StartRequest:
            tell(sent)
            self.folder.put_submission(self.document)
            self._watched()
            patience.turn_into(self._patience())  # the start may be heard from here on
            return self.request

        then = start if is_last else None
        patience = patience_without_run(self.surroundings.settings)
        told_of = patience.beside(progress.reach)
        sent = reach(
            self.reporter,
            lambda: self.target.send(parcel.source, base=parcel.base, progress=told_of, then=then),
            should_stop=self.should_stop,
            patience=patience,
        )
        if sent.started is None:
            (then or tell)(sent)
        files = counted(told["sent_files"], "file")
        count = f"{files}{parcel.of} ({readable(told['sent_bytes'])})"
        self.reporter.note(
            f"Sent {count} to {self.target.name}."
            if told["sent_files"]
            else f"The files{parcel.of} are on {self.target.name} by now: another run has just sent them."
        )
        return sent.started

    def _accepted(self, started: Started) -> Run:
        run = Run(
            self.workspace,
            self.request.experiment,
            started.run_id,
            surroundings=self.surroundings,
            lineage=self.lineage,
        )
        if started.joined:
            self.reporter.note(f"Joined run {started.run_id}, which was there already.")
        else:
            self.reporter.note(f"Run {started.run_id} was accepted by {self.target.name}.")
        if started.run_id == self.request.run_id:
            run.attach(self.target, restart=lambda: self.target.start(self.request))
            return run
        # The lineage has a run: that one is ours to watch, and what we prepared is nobody's.
        self.ours = replace(self.ours, run_id=started.run_id)
        self.ours.save(self.lineage)
        self.folder.withdraw()
        if not run.folder.is_known():
            # Its own submission never reached this workspace (another one was configured then): ours describes it best.
            handle = self.target.handle(started, self.ours.id).document()
            run.folder.put_submission({**self.document, "run_id": started.run_id, "handle": handle})
        run.attach(self.target)
        return run

    def _collect_previous(self, started: Started) -> None:
        """Bring what earlier runs of this lineage left, while the target keeps it."""
        for run_id in started.previous:
            run = Run(self.workspace, self.request.experiment, run_id, surroundings=self.surroundings)
            if not run.folder.is_known() or run.record is not None:
                continue
            self.reporter.note(f"Collecting what run {run_id} of an earlier try left.")
            try:
                run.collect()
            except ScriptRunError as error:
                self.reporter.warning(f"What run {run_id} left could not be collected: {error}")
            finally:
                run.close()
                self._watched()  # that may have taken long, and only now somebody polls the new one
