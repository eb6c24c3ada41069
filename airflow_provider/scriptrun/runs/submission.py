"""From a configuration to a run on its target: the one call that the operator and plain Python share.

Snapshot, Git facts and a first word with the target go on at the same time; then the snapshot is kept in the workspace,
the lineage is stored, and only then the run is asked for.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import (
    ConfigurationError,
    NotSupportedError,
    OtherHostError,
    RunCanceledError,
    RunSupersededError,
    ScriptRunError,
    TargetRefusedError,
    TargetUnreachableError,
)
from airflow_provider.scriptrun.runs import launch, previous
from airflow_provider.scriptrun.runs import workspace_layout as layout
from airflow_provider.scriptrun.runs.crash_points import AFTER_LINEAGE, AFTER_START, BEFORE_LINEAGE, crash_point
from airflow_provider.scriptrun.runs.lineage import (
    DELIVERED,
    Attempt,
    Lineage,
    Nowhere,
    WorkspaceLineage,
)
from airflow_provider.scriptrun.runs.names import check_experiment_name, check_run_id, new_run_id
from airflow_provider.scriptrun.runs.progress import Progress, readable
from airflow_provider.scriptrun.runs.reach import reach
from airflow_provider.scriptrun.runs.reporter import Quiet
from airflow_provider.scriptrun.runs.request import (
    DAY_SECONDS,
    limits_of,
    start_request,
    submission_document,
)
from airflow_provider.scriptrun.runs.run import Run
from airflow_provider.scriptrun.runs.run_folder import RunFolder
from airflow_provider.scriptrun.supervisor.protocol.canonical import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider.scriptrun.config import ScriptRunConfig
    from airflow_provider.scriptrun.environments.plan import EnvironmentPlan
    from airflow_provider.scriptrun.runs.lineage import LineageStore
    from airflow_provider.scriptrun.runs.reporter import Reporter
    from airflow_provider.scriptrun.runs.settings import Settings
    from airflow_provider.scriptrun.runs.surroundings import Surroundings
    from airflow_provider.scriptrun.runs.workspace import Workspace
    from airflow_provider.scriptrun.snapshot import Bundle, GitFacts, Snapshot
    from airflow_provider.scriptrun.targets.contract import ComputeTarget, Limits, Started, StartRequest, TargetFacts


def submit(
    config: ScriptRunConfig,
    *,
    workspace: Workspace,
    experiment: str,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    lineage: LineageStore | None = None,
    attempt: Attempt | None = None,
    airflow: Mapping[str, Any] | None = None,
    bundle: Bundle | None = None,
    reporter: Reporter | None = None,
    surroundings: Surroundings | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Run:
    """Take the snapshot, keep it, and start the run on its target, or join the one that this lineage already has.

    :param config: with every template rendered.
    :param run_id: an id of the caller's; submitted twice it is the same run. Default: ``<experiment>_<epoch
        seconds>_<8 hex>``.
    :param lineage: where the lineage is kept; default: an object in the workspace, under the run id.
    :param attempt: which try of a task asks.
    :param airflow: the ``airflow`` part of the run record.
    :param bundle: the DAG bundle, that stands in when there is no Git.
    :param should_stop: asked at least every second while waiting for a target that cannot be reached.
    :raises ConfigurationError: the configuration cannot run, or not on this target.
    :raises SnapshotError: the source directory cannot be captured.
    :raises WorkspaceError: the snapshot cannot be kept.
    :raises TargetError: the target refuses, or is another host than the one that this lineage has a run on.
    :raises RunSupersededError: a newer try has taken over.
    :raises RunCanceledError: the run was cancelled before it started.
    """
    if surroundings is None:
        from airflow_provider.scriptrun.runs.surroundings import current

        surroundings = current()
    config = config.resolved()
    check_experiment_name(experiment)
    if run_id is not None:
        check_run_id(run_id)
        known = Run(workspace, experiment, run_id, surroundings=surroundings)
        if known.record is not None:
            return known
    if lineage is None:
        folder = layout.run_folder(experiment, run_id or "")
        lineage = WorkspaceLineage(workspace.objects, folder) if run_id is not None else Nowhere()
    submission = _Submission(
        config=config,
        workspace=workspace,
        experiment=experiment,
        run_id=run_id or new_run_id(experiment),
        tags={**config.tags, **(tags or {})},
        lineage=lineage,
        attempt=attempt or Attempt(),
        airflow=airflow or {},
        bundle=bundle,
        reporter=reporter or Quiet(),
        surroundings=surroundings,
        should_stop=should_stop or (lambda: False),
        given_id=run_id is not None,
    )
    with ThreadPoolExecutor(2, thread_name_prefix="submit") as pool:
        return submission.run(pool)


@dataclass
class _Submission:
    """One call of :func:`submit`, step by step."""

    config: ScriptRunConfig
    workspace: Workspace
    experiment: str
    run_id: str
    tags: dict[str, str]
    lineage: LineageStore
    attempt: Attempt
    airflow: Mapping[str, Any]
    bundle: Bundle | None
    reporter: Reporter
    surroundings: Surroundings
    should_stop: Callable[[], bool]
    phases: dict[str, float] = field(default_factory=dict)
    given_id: bool = False  #: the run id is the caller's
    latest_run_id: str | None = None  #: the lineage's, before this submission

    @property
    def settings(self) -> Settings:
        return self.surroundings.settings

    def run(self, pool: ThreadPoolExecutor) -> Run:
        from airflow_provider.scriptrun.targets.registry import open_target

        self._warn_of_hosts()
        argv = launch.argv(self.config)
        secret_variables = {
            name: self.surroundings.secret(reference) for name, reference in self.config.secret_variables.items()
        }
        name = self.config.compute_target
        source = self.surroundings.base_directory / self.config.source_directory
        ours = self._lineage_of(name)
        target = open_target(name, self.surroundings, host_id=(ours.host_id or None) if ours else None)
        try:
            self._refuse_unsupported(target)
            limits = limits_of(self.config, self.settings, target)
            facts = pool.submit(target.check)
            git = pool.submit(self._git_facts, source)
            plan = self._plan()
            snapshot = self._take(source)
            self._find_script(snapshot, is_new=self._keep(snapshot))
            here = self._reach(target, facts.result, ours)
            crash_point(BEFORE_LINEAGE)
            ours = self._store(ours, name, here, limits)
            crash_point(AFTER_LINEAGE)
            request = start_request(
                run_id=self.run_id,
                lineage=ours.id,
                experiment=self.experiment,
                argv=argv,
                snapshot=snapshot,
                plan=plan,
                variables=self.config.variables,
                secret_variables=secret_variables,
                inherit=_words(self.settings.inherit_variables),
                attempt=self._attempt(),
                limits=limits,
                tags=self.tags,
                airflow=self.airflow,
            )
            handle = target.handle(self.run_id, ours.id)
            document = submission_document(self.config, request, handle, here, snapshot, git.result(), self.phases)
            if patch := git.result().patch:
                self.workspace.objects.put(self.folder.at(layout.PATCH), patch)
            return self._start(target, request, document, snapshot, ours)
        except BaseException:
            target.close()
            raise

    # Steps

    @cached_property
    def folder(self) -> RunFolder:
        return RunFolder(self.workspace, self.experiment, self.run_id)

    def _lineage_of(self, name: str) -> Lineage | None:
        """Return the stored lineage, if its run is (or was) on this target; see it dead where it is on another one."""
        ours = Lineage.load(self.lineage)
        if ours is None:
            return None
        self.latest_run_id = ours.run_id
        # Who watches a run under an id of the caller's is not stored, so nothing is sure about its end.
        has_ended = not self.given_id and previous.has_surely_ended(ours, self.lineage)
        if ours.connection != name:
            if not has_ended:
                previous.leave(ours, self.surroundings, self.reporter)
            return None
        return replace(ours, host_id="") if has_ended else ours

    def _store(self, ours: Lineage | None, name: str, here: TargetFacts, limits: Limits) -> Lineage:
        ours = replace(
            ours or Lineage(self._lineage_id(), name, "", self.run_id),
            run_id=self.run_id,
            host_id=here.host.id,
            orphan_after_s=limits.orphan_after_s,
            grace_s=limits.grace_s,
            watched_at=time.time(),
        )
        ours.save(self.lineage)
        return ours

    def _attempt(self) -> Attempt:
        delivered = self.lineage.get(DELIVERED)
        return replace(self.attempt, delivered=delivered is not None and delivered == self.latest_run_id)

    def _lineage_id(self) -> str:
        """Return the id of a new lineage: for a run id of the caller's always the same, so that two at once agree."""
        if not self.given_id:
            return uuid.uuid4().hex
        return digest(f"{self.workspace.url}\0{self.experiment}\0{self.run_id}".encode("utf-8", "surrogateescape"))[:32]

    def _warn_of_hosts(self) -> None:
        if self.surroundings.hosts_may_differ and self.workspace.is_local:
            self.reporter.warning(
                f"The workspace is the folder {self.workspace.url} of this worker, and other workers may not see it. "
                "Set [scriptrun] workspace to a folder that all share, or to object storage."
            )

    def _refuse_unsupported(self, target: ComputeTarget) -> None:
        from airflow_provider.scriptrun.config import unsupported

        if lacking := unsupported(self.config, target.target_type):
            raise NotSupportedError(" ".join(lacking))

    def _find_script(self, snapshot: Snapshot, *, is_new: bool) -> None:
        """Refuse a script that the target would not find. What an ignore rule leaves out is looked for once."""
        script = self.config.script_path
        if script is None:
            return
        if not (snapshot.root / script).is_file():
            raise ConfigurationError(
                f"config.script: there is no file {script} in {snapshot.root}",
                advice="Correct config.script or config.source_directory",
            )
        if is_new and os.fsencode(str(script)) not in {entry.path for entry in snapshot.entries}:
            through_link = any((snapshot.root / parent).is_symlink() for parent in script.parents)
            if not through_link:
                raise ConfigurationError(
                    f"config.script: {script} is not sent, since an ignore rule leaves it out",
                    advice="Correct .amlignore or .gitignore",
                )

    def _git_facts(self, source: Path) -> GitFacts:
        from airflow_provider.scriptrun.snapshot import git_facts

        return git_facts(source, bundle=self.bundle)

    def _plan(self) -> EnvironmentPlan:
        from airflow_provider.scriptrun.environments.plan import plan
        from airflow_provider.scriptrun.environments.settings import EnvironmentSettings

        settings = self.settings
        indexes = _words(settings.extra_index_urls)
        planned = plan(
            self.config.environment,
            base_directory=self.surroundings.base_directory,
            settings=EnvironmentSettings(
                index_url=settings.index_url or None,
                extra_index_urls=indexes,
                ca_file=Path(settings.ca_file) if settings.ca_file else None,
                lock_max_age_s=settings.environment_lock_max_age_days * DAY_SECONDS or None,
            ),
        )
        for secret in planned.confidential:
            self.surroundings.mask(secret)
        return planned

    def _take(self, source: Path) -> Snapshot:
        from airflow_provider.scriptrun.snapshot import Limits, take

        began = time.monotonic()
        progress = self._progress(f"Hashing {source}")
        snapshot = take(
            source,
            cache_directory=Path(self.settings.cache_directory),
            limits=Limits(
                warn_bytes=self.settings.snapshot_warn_bytes,
                warn_files=self.settings.snapshot_warn_files,
                max_bytes=self.settings.snapshot_max_bytes,
            ),
            progress=lambda _files, count: progress.reach(count),
        )
        progress.finish()
        for warning in snapshot.warnings:
            self.reporter.warning(warning)
        self.phases["snapshot"] = round(time.monotonic() - began, 3)
        return snapshot

    def _keep(self, snapshot: Snapshot) -> bool:
        """Keep the snapshot; return whether the workspace had not seen it yet."""
        began = time.monotonic()
        progress = self._progress("Keeping the snapshot in the workspace")
        kept = self.workspace.keep_snapshot(snapshot, Path(self.settings.cache_directory), progress.advance)
        progress.finish()
        self.phases["keep"] = round(time.monotonic() - began, 3)
        self.reporter.note(
            f"Snapshot {snapshot.id[:12]}: {snapshot.files} files, {readable(snapshot.bytes)}; "
            + (f"{kept.blobs} new in the workspace ({readable(kept.bytes)})." if kept.blobs else "nothing new.")
        )
        return bool(kept.blobs)

    def _reach(self, target: ComputeTarget, first: Callable[[], TargetFacts], ours: Lineage | None) -> TargetFacts:
        try:
            try:
                return first()
            except TargetUnreachableError:
                return reach(self.reporter, target.check, should_stop=self.should_stop)
        except OtherHostError as error:
            if ours is None:
                raise
            raise previous.explain_other_host(error, ours, self.lineage) from error

    def _start(
        self, target: ComputeTarget, request: StartRequest, document: dict[str, Any], snapshot: Snapshot, ours: Lineage
    ) -> Run:
        from airflow_provider.scriptrun.targets.contract import Outcome

        # Under an id of the caller's, an earlier submission may stand here: it stays, if that is the run that we join.
        earlier = self.folder.submission if self.given_id and self.folder.is_known() else None
        self.folder.put_submission(document)
        started = self._ask(target, request)
        if started.outcome is Outcome.MISSING:
            self._send(target, snapshot, document)
            self.folder.put_submission(document)
            started = self._ask(target, request)
        if started.outcome is Outcome.MISSING:
            raise TargetRefusedError(
                f"The target {target.name} asks for snapshot {snapshot.id} again after it was sent",
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
            raise RunCanceledError(f"Run {self.run_id} was cancelled before it started", run_id=self.run_id)
        if earlier is not None and started.joined:
            self.folder.put_submission(earlier)
        run = self._accepted(target, request, document, started, ours)
        self._collect_previous(started)
        return run

    def _ask(self, target: ComputeTarget, request: StartRequest) -> Started:
        return reach(self.reporter, lambda: target.start(request), should_stop=self.should_stop)

    def _send(self, target: ComputeTarget, snapshot: Snapshot, document: dict[str, Any]) -> None:
        began = time.monotonic()
        progress = self._progress(f"Sending to {target.name}")
        sent = reach(
            self.reporter, lambda: target.send(snapshot, progress=progress.reach), should_stop=self.should_stop
        )
        progress.finish()
        self.phases["send"] = document["phases"]["send"] = round(time.monotonic() - began, 3)
        document["snapshot"].update(sent_files=sent.files, sent_bytes=sent.bytes)
        self.reporter.note(f"Sent {sent.files} files ({readable(sent.bytes)}) to {target.name}.")

    def _accepted(
        self, target: ComputeTarget, request: StartRequest, document: dict[str, Any], started: Started, ours: Lineage
    ) -> Run:
        run = Run(self.workspace, self.experiment, started.run_id, surroundings=self.surroundings, lineage=self.lineage)
        if started.joined:
            self.reporter.note(f"Joined run {started.run_id}, which was there already.")
        else:
            self.reporter.note(f"Run {started.run_id} was accepted by {target.name}.")
        if started.run_id == self.run_id:
            run.attach(target, restart=lambda: target.start(request))
            return run
        # The lineage has a run: that one is ours to watch, and what we prepared is nobody's.
        replace(ours, run_id=started.run_id).save(self.lineage)
        self.folder.withdraw()
        if not run.folder.is_known():
            # Its own submission never reached this workspace (another one was configured then): ours describes it best.
            handle = target.handle(started, ours.id).document()
            run.folder.put_submission({**document, "run_id": started.run_id, "handle": handle})
        run.attach(target)
        return run

    def _collect_previous(self, started: Started) -> None:
        """Bring what earlier runs of this lineage left, while the target keeps it."""
        for run_id in started.previous:
            run = Run(self.workspace, self.experiment, run_id, surroundings=self.surroundings)
            if not run.folder.is_known() or run.record is not None:
                continue
            self.reporter.note(f"Collecting what run {run_id} of an earlier try left.")
            try:
                run.collect()
            except ScriptRunError as error:
                self.reporter.warning(f"What run {run_id} left could not be collected: {error}")
            finally:
                run.close()

    def _progress(self, what: str) -> Progress:
        return Progress(self.reporter, what, is_terminal=self.surroundings.is_terminal)


def _words(text: str) -> tuple[str, ...]:
    """Return the items of a setting that are separated by commas or spaces."""
    return tuple(word for word in re.split(r"[,\s]+", text) if word)
