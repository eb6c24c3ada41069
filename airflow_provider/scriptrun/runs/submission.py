"""From a configuration to a run on its target: the one call that the operator and plain Python share.

Snapshot, Git facts and a first word with the target go on at the same time; then the snapshot is kept in the workspace,
the lineage is stored, and only then the run is asked for.
"""

from __future__ import annotations

import re
import secrets
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import (
    ConfigurationError,
    OtherHostError,
    RunCanceledError,
    RunSupersededError,
    ScriptRunError,
    TargetRefusedError,
    TargetUnreachableError,
)
from airflow_provider.scriptrun.runs import launch, previous
from airflow_provider.scriptrun.runs import workspace_layout as layout
from airflow_provider.scriptrun.runs.crash_points import AFTER_LINEAGE, BEFORE_LINEAGE, crash_point
from airflow_provider.scriptrun.runs.lineage import (
    DELIVERED,
    Attempt,
    Lineage,
    Nowhere,
    WorkspaceLineage,
)
from airflow_provider.scriptrun.runs.progress import Progress, readable
from airflow_provider.scriptrun.runs.reporter import Quiet
from airflow_provider.scriptrun.runs.run import Run
from airflow_provider.scriptrun.runs.watch import reach
from airflow_provider.scriptrun.supervisor.protocol.canonical import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider.scriptrun.config import Environment, ScriptRunConfig
    from airflow_provider.scriptrun.environments.plan import EnvironmentPlan
    from airflow_provider.scriptrun.runs.lineage import LineageStore
    from airflow_provider.scriptrun.runs.reporter import Reporter
    from airflow_provider.scriptrun.runs.settings import Settings
    from airflow_provider.scriptrun.runs.surroundings import Surroundings
    from airflow_provider.scriptrun.runs.workspace import Workspace
    from airflow_provider.scriptrun.snapshot import Bundle, GitFacts, Snapshot
    from airflow_provider.scriptrun.targets.contract import ComputeTarget, Limits, Started, StartRequest, TargetFacts

EXPERIMENT_NAME = re.compile(r"[a-zA-Z0-9][\w-]{0,254}", re.ASCII)
#: What a target and a file system take as a name.
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
#: So much of an experiment's name stands in the run ids that are made here.
EXPERIMENT_PART_LENGTH = 100
LOCAL = "local"
DAY_SECONDS = 86_400.0
#: Raised by one when a field of config.json changes its meaning.
SUBMISSION_VERSION = 1


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
    check_experiment_name(experiment)
    if run_id is not None:
        check_run_id(run_id)
        known = Run(workspace, experiment, run_id, surroundings=surroundings)
        if known.record is not None:
            return known
    if lineage is None:
        folder = layout.run_folder(experiment, run_id or "")
        lineage = WorkspaceLineage(workspace.objects, folder) if run_id else Nowhere()
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
    )
    with ThreadPoolExecutor(2, thread_name_prefix="submit") as pool:
        return submission.run(pool)


def new_run_id(experiment: str) -> str:
    """Return a run id as Azure ML makes them: ``<experiment>_<epoch seconds>_<8 hex>``."""
    return f"{experiment[:EXPERIMENT_PART_LENGTH]}_{int(time.time())}_{secrets.token_hex(4)}"


def check_experiment_name(name: str) -> None:
    """Raise :class:`ConfigurationError` for what is no experiment's name."""
    if not isinstance(name, str) or not EXPERIMENT_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r:.300} is no name of an experiment",
            advice="Write a letter or digit, then at most 254 letters, digits, _ and -",
        )


def check_run_id(run_id: str) -> None:
    """Raise :class:`ConfigurationError` for what is no run id."""
    if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        raise ConfigurationError(
            f"{run_id!r:.300} is no run id", advice="Write a letter or digit, then at most 127 letters, digits, _ and -"
        )


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
        source = self.surroundings.base_directory / self._source_directory()
        name = self._target_name()
        ours = Lineage.load(self.lineage)
        self.latest_run_id = ours.run_id if ours else None
        if ours is not None and ours.connection != name:
            previous.leave(ours, self.lineage, self.surroundings, self.reporter)
            ours = None
        elif ours is not None and previous.has_surely_ended(ours, self.lineage):
            ours = replace(ours, host_id="")
        target = open_target(name, self.surroundings, host_id=(ours.host_id or None) if ours else None)
        try:
            facts = pool.submit(target.check)
            git = pool.submit(self._git_facts, source)
            plan = self._plan()
            snapshot = self._take(source)
            self._keep(snapshot)
            self._write_patch(git.result())
            here = self._reach(target, facts.result, ours)
            crash_point(BEFORE_LINEAGE)
            limits = self._limits(target)
            ours = replace(
                ours or Lineage(self._lineage_id(), name, "", self.run_id),
                run_id=self.run_id,
                host_id=here.host.id,
                orphan_after_s=limits.orphan_after_s,
                watched_at=time.time(),
            )
            ours.save(self.lineage)
            crash_point(AFTER_LINEAGE)
            request = self._request(argv, secret_variables, snapshot, plan, ours, limits)
            document = self._document(target, ours, here, request, snapshot, git.result())
            return self._start(target, request, document, snapshot, ours)
        except BaseException:
            target.close()
            raise

    # Steps

    def _lineage_id(self) -> str:
        """Return the id of a new lineage: for a run id of the caller's always the same, so that two at once agree."""
        if not isinstance(self.lineage, WorkspaceLineage):
            return uuid.uuid4().hex
        return digest(f"{self.workspace.url}\0{self.experiment}\0{self.run_id}".encode("utf-8", "surrogateescape"))[:32]

    def _warn_of_hosts(self) -> None:
        if self.surroundings.hosts_may_differ and self.workspace.is_local:
            self.reporter.warning(
                f"The workspace is the folder {self.workspace.url} of this worker, and other workers may not see it. "
                "Set [scriptrun] workspace to a folder that all share, or to object storage."
            )

    def _git_facts(self, source: Path) -> GitFacts:
        from airflow_provider.scriptrun.snapshot import git_facts

        return git_facts(source, bundle=self.bundle)

    def _plan(self) -> EnvironmentPlan:
        from airflow_provider.scriptrun.environments.plan import plan
        from airflow_provider.scriptrun.environments.settings import EnvironmentSettings

        settings = self.settings
        indexes = tuple(url for url in re.split(r"[,\s]+", settings.extra_index_urls) if url)
        planned = plan(
            self._environment(),
            base_directory=self.surroundings.base_directory,
            settings=EnvironmentSettings(
                index_url=settings.index_url or None,
                extra_index_urls=indexes,
                ca_file=Path(settings.ca_file) if settings.ca_file else None,
                lock_max_age_s=settings.environment_lock_max_age_days * DAY_SECONDS,
            ),
        )
        for secret in planned.secrets.values():
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

    def _keep(self, snapshot: Snapshot) -> None:
        began = time.monotonic()
        progress = self._progress("Keeping the snapshot in the workspace")
        kept = self.workspace.keep_snapshot(snapshot, Path(self.settings.cache_directory), progress.advance)
        progress.finish()
        self.phases["keep"] = round(time.monotonic() - began, 3)
        self.reporter.note(
            f"Snapshot {snapshot.id[:12]}: {snapshot.files} files, {readable(snapshot.bytes)}; "
            + (f"{kept.blobs} new in the workspace ({readable(kept.bytes)})." if kept.blobs else "nothing new.")
        )

    def _write_patch(self, git: GitFacts) -> None:
        if git.patch:
            self.workspace.objects.put(f"{self._folder}/{layout.PATCH}", git.patch)

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

        name = f"{self._folder}/{layout.CONFIG}"
        earlier = self.workspace.objects.get_json(name) if isinstance(self.lineage, WorkspaceLineage) else None
        self.workspace.objects.put_json(name, document)
        started = self._ask(target, request)
        if started.outcome is Outcome.MISSING:
            self._send(target, snapshot, document)
            self.workspace.objects.put_json(name, document)
            started = self._ask(target, request)
        if started.outcome is Outcome.MISSING:
            raise TargetRefusedError(
                f"The target {target.name} asks for snapshot {snapshot.id} again after it was sent",
                advice="Is its disk full, or its root cleaned by something else?",
            )
        if started.outcome is Outcome.SUPERSEDED:
            self._withdraw()
            raise RunSupersededError(
                f"A newer try ({started.try_number}) of this task has taken over with run {started.run_id}",
                advice="Nothing was touched; look at that try",
                run_id=started.run_id,
            )
        if started.outcome is Outcome.CANCELED:
            raise RunCanceledError(f"Run {self.run_id} was cancelled before it started", run_id=self.run_id)
        if earlier is not None and started.joined:
            self.workspace.objects.put_json(name, earlier)
            document = earlier
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
        submission: dict[str, Any] | None = document
        if started.run_id != self.run_id:
            # The lineage has a run: that one is ours to watch, and what we prepared is nobody's.
            self._withdraw()
            replace(ours, run_id=started.run_id).save(self.lineage)
            submission = None
        if started.joined:
            self.reporter.note(f"Joined run {started.run_id}, which an earlier try had started.")
        else:
            self.reporter.note(f"Run {started.run_id} was accepted by {target.name}.")
        run = Run(
            self.workspace,
            self.experiment,
            started.run_id,
            submission=submission,
            surroundings=self.surroundings,
            lineage=self.lineage,
        )
        run.attach(target, restart=lambda: target.start(request) if started.run_id == self.run_id else None)
        if started.run_id != self.run_id and not run.is_known:
            # Its own submission never reached this workspace (another one is configured now): ours describes it best.
            handle = target.handle(started, ours.id).document()
            self.workspace.objects.put_json(
                f"{layout.run_folder(self.experiment, started.run_id)}/{layout.CONFIG}",
                {**document, "run_id": started.run_id, "handle": handle},
            )
        return run

    def _withdraw(self) -> None:
        for name in (layout.CONFIG, layout.PATCH):
            self.workspace.objects.remove(f"{self._folder}/{name}")

    def _collect_previous(self, started: Started) -> None:
        for run_id in started.previous:
            run = Run(self.workspace, self.experiment, run_id, surroundings=self.surroundings)
            if not run.is_known or run.record is not None:
                continue
            self.reporter.note(f"Collecting what run {run_id} of an earlier try left.")
            try:
                run.collect()
            except ScriptRunError as error:
                self.reporter.warning(f"What run {run_id} left could not be collected: {error}")
            finally:
                run.close()

    # Values

    @property
    def _folder(self) -> str:
        return layout.run_folder(self.experiment, self.run_id)

    def _progress(self, what: str) -> Progress:
        return Progress(self.reporter, what, is_terminal=self.surroundings.is_terminal)

    def _target_name(self) -> str:
        return self.config.run_config.target or LOCAL

    def _source_directory(self) -> str:
        return self.config.source_directory or "."

    def _environment(self) -> Environment | None:
        return self.config.run_config.environment

    def _limits(self, target: ComputeTarget) -> Limits:
        from airflow_provider.scriptrun.targets.contract import Limits

        settings = self.settings
        is_local = target.target_type == LOCAL
        orphan_after = settings.local_orphan_after_seconds if is_local else settings.orphan_after_seconds
        max_runs = getattr(target, "max_runs", None) or (settings.local_max_runs if is_local else None)
        return Limits(
            max_run_duration_s=self.config.max_run_duration_seconds or None,
            grace_s=settings.cancel_grace_seconds,
            orphan_after_s=float(orphan_after) or None,
            max_runs=max_runs or None,
            budget_bytes=settings.target_budget_bytes or None,
            budget_age_s=settings.target_max_age_days * DAY_SECONDS or None,
        )

    def _request(
        self,
        argv: list[str],
        secret_variables: dict[str, str],
        snapshot: Snapshot,
        plan: EnvironmentPlan,
        ours: Lineage,
        limits: Limits,
    ) -> StartRequest:
        from airflow_provider.scriptrun.targets.contract import StartRequest

        delivered = self.lineage.get(DELIVERED)
        return StartRequest(
            run_id=self.run_id,
            lineage=ours.id,
            experiment=self.experiment,
            argv=tuple(argv),
            snapshot_id=snapshot.id,
            attempt=replace(self.attempt, delivered=delivered is not None and delivered == self.latest_run_id),
            environment=plan.document,
            secret_environment=plan.secrets,
            variables=self._variables(),
            secret_variables=secret_variables,
            inherit=tuple(name for name in re.split(r"[,\s]+", self.settings.inherit_variables) if name),
            limits=limits,
            context={
                "run_id": self.run_id,
                "experiment": self.experiment,
                "snapshot": snapshot.id,
                "tags": self.tags,
                "airflow": dict(self.airflow),
            },
        )

    def _variables(self) -> dict[str, str]:
        environment = self._environment()
        of_environment = environment.environment_variables if environment is not None else {}
        return {**of_environment, **self.config.run_config.environment_variables}

    def _document(
        self,
        target: ComputeTarget,
        ours: Lineage,
        here: TargetFacts,
        request: StartRequest,
        snapshot: Snapshot,
        git: GitFacts,
    ) -> dict[str, Any]:
        """Return what the workspace keeps of this submission: plain JSON without secrets."""
        environment = self._environment()
        return {
            "version": SUBMISSION_VERSION,
            "run_id": self.run_id,
            "experiment": self.experiment,
            "submitted_at": utc_now(),
            "source_directory": str(snapshot.root),
            "config": self.config.model_dump(mode="json"),
            "command": list(request.argv),
            "tags": self.tags,
            "airflow": dict(self.airflow),
            "attempt": dict(request.attempt.__dict__),
            "limits": dict(request.limits.__dict__),
            "target": {"name": target.name, "type": target.target_type, "host": here.host.name},
            "handle": target.handle(self.run_id, ours.id).document(),
            "snapshot": {
                "id": snapshot.id,
                "files": snapshot.files,
                "bytes": snapshot.bytes,
                "changed": snapshot.changed,
                "ignored": snapshot.ignored,
                "warnings": list(snapshot.warnings),
                "sent_files": 0,
                "sent_bytes": 0,
            },
            "environment": {
                "name": environment.name if environment is not None else "default",
                **dict(request.environment),
            },
            "git": {
                "commit": git.commit,
                "branch": git.branch,
                "repository": git.repository,
                "dirty": git.dirty,
                "reason": git.reason,
                "source": git.source,
                "has_patch": bool(git.patch),
            },
            "phases": self.phases,
        }


def utc_now() -> str:
    """Return the time as ISO 8601 in UTC, with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
