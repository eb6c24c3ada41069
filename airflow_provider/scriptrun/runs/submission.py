"""From a configuration to a run on its target: the one call that the operator and plain Python share.

Snapshot, Git facts and a first word with the target go on at the same time; then the snapshot is kept in the workspace,
the lineage is stored, and only then the run is asked for.
"""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider.scriptrun.errors import NotSupportedError, OtherHostError, TargetUnreachableError
from airflow_provider.scriptrun.runs import launch, previous
from airflow_provider.scriptrun.runs import workspace_layout as layout
from airflow_provider.scriptrun.runs.bases import Bases
from airflow_provider.scriptrun.runs.capture import Capture, words
from airflow_provider.scriptrun.runs.collector import held_off
from airflow_provider.scriptrun.runs.crash_points import AFTER_LINEAGE, BEFORE_LINEAGE, crash_point
from airflow_provider.scriptrun.runs.lineage import (
    DELIVERED,
    Attempt,
    Lineage,
    Nowhere,
    WorkspaceLineage,
)
from airflow_provider.scriptrun.runs.names import check_experiment_name, check_run_id, new_run_id
from airflow_provider.scriptrun.runs.reach import patience_without_run, reach
from airflow_provider.scriptrun.runs.reporter import Quiet
from airflow_provider.scriptrun.runs.request import (
    asks_for_container,
    container_of,
    limits_of,
    start_request,
    submission_document,
)
from airflow_provider.scriptrun.runs.run import Run
from airflow_provider.scriptrun.runs.run_folder import RunFolder
from airflow_provider.scriptrun.runs.start import Start
from airflow_provider.scriptrun.runs.trail import Trail
from airflow_provider.scriptrun.supervisor.protocol.canonical import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider.scriptrun.config import ScriptRunConfig
    from airflow_provider.scriptrun.environments.plan import EnvironmentPlan
    from airflow_provider.scriptrun.runs.inputs import Input
    from airflow_provider.scriptrun.runs.lineage import LineageStore
    from airflow_provider.scriptrun.runs.reporter import Reporter
    from airflow_provider.scriptrun.runs.settings import Settings
    from airflow_provider.scriptrun.runs.surroundings import Surroundings
    from airflow_provider.scriptrun.runs.workspace import Workspace
    from airflow_provider.scriptrun.snapshot import Bundle, GitFacts, Snapshot
    from airflow_provider.scriptrun.targets.contract import ComputeTarget, HostFacts, Limits


def submit(
    config: ScriptRunConfig,
    *,
    workspace: Workspace,
    experiment: str,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    lineage: LineageStore | None = None,
    seed: str | None = None,
    attempt: Attempt | None = None,
    airflow: Mapping[str, Any] | None = None,
    bundle: Bundle | None = None,
    reporter: Reporter | None = None,
    surroundings: Surroundings | None = None,
    should_stop: Callable[[], bool] | None = None,
    refresh_environment: bool = False,
) -> Run:
    """Take the snapshot, keep it, and start the run on its target, or join the one that this lineage already has.

    :param config: with every template rendered.
    :param run_id: an id of the caller's; submitted twice it is the same run. Default: ``<experiment>_<epoch
        seconds>_<8 hex>``.
    :param lineage: where the lineage is kept; default: an object in the workspace, under the run id.
    :param seed: names what the lineage is of, the same text in every process: two that find an empty ``lineage`` at
        once then choose the same id for it, and the target lets one of them start. Default: an id by chance.
    :param attempt: which try of a task asks.
    :param airflow: the ``airflow`` part of the run record.
    :param bundle: the DAG bundle, that stands in when there is no Git.
    :param should_stop: asked at least every second while waiting for a target that cannot be reached.
    :param refresh_environment: resolve the environment's requirements again, whatever the target has kept.
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
    reporter = reporter or Quiet()
    submission = _Submission(
        config=config,
        workspace=workspace,
        experiment=experiment,
        run_id=run_id or new_run_id(experiment),
        tags={**config.tags, **(tags or {})},
        lineage=lineage,
        attempt=attempt or Attempt(),
        airflow=airflow or {},
        capture=Capture(config, workspace, surroundings, reporter, bundle, refresh_environment),
        reporter=reporter,
        surroundings=surroundings,
        should_stop=should_stop or (lambda: False),
        seed=f"{workspace.url}\0{experiment}\0{run_id}" if run_id is not None else seed,
        given_id=run_id is not None,
    )
    with held_off(), ThreadPoolExecutor(2, thread_name_prefix="submit") as pool:
        return submission.run(pool)


class _Work(NamedTuple):
    """What is to run, as far as it does not depend on the host."""

    argv: tuple[str, ...]
    secret_variables: Mapping[str, str]
    plan: EnvironmentPlan
    snapshot: Snapshot
    inputs: Mapping[str, Input]
    git: GitFacts
    limits: Limits


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
    capture: Capture
    reporter: Reporter
    surroundings: Surroundings
    should_stop: Callable[[], bool]
    seed: str | None  #: what makes the id of a new lineage the same for all who ask for the same
    given_id: bool  #: the run id is the caller's
    stored: Lineage | None = None  #: before this submission

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
        target = open_target(
            name,
            self.surroundings,
            host_id=(ours.host_id or None) if ours else None,
            in_container=asks_for_container(self.config),
        )
        try:
            self._refuse_unsupported(target)
            limits = limits_of(self.config, self.settings, target)
            facts = pool.submit(target.host)
            git = pool.submit(self.capture.git_facts, source)
            plan = self.capture.plan(target)
            snapshot = self.capture.take(source)
            self.capture.find_script(snapshot, is_new=self.capture.keep(snapshot))
            inputs = self.capture.inputs(snapshot)
            here = self._reach(target, facts.result, ours)
            work = _Work(argv, secret_variables, plan, snapshot, inputs, git.result(), limits)
            try:
                return self._start(target, here, ours, work)
            except OtherHostError as error:
                if ours is not None and ours.host_id:
                    raise previous.explain_other_host(error, ours, self._watched_at(ours)) from error
                # It was said from memory, and another machine answers under the name by now.
                return self._start(target, target.host(anew=True), ours, work)
        except BaseException:
            target.close()
            raise

    def _start(self, target: ComputeTarget, here: HostFacts, ours: Lineage | None, work: _Work) -> Run:
        crash_point(BEFORE_LINEAGE)
        ours = self._store(ours, target.name, here, work.limits)
        crash_point(AFTER_LINEAGE)
        request = start_request(
            run_id=self.run_id,
            lineage=ours.id,
            experiment=self.experiment,
            argv=work.argv,
            snapshot=work.snapshot,
            inputs=work.inputs,
            plan=work.plan,
            variables=self.config.variables,
            secret_variables=work.secret_variables,
            inherit=words(self.settings.inherit_variables),
            attempt=self._attempt(),
            limits=work.limits,
            tags=self.tags,
            airflow=self.airflow,
            container=container_of(self.config),
        )
        bases = Bases(Path(self.settings.cache_directory), f"{self.experiment}\0{self.config.source_directory}")
        request = replace(request, bases=bases.ids())
        handle = target.handle(self.run_id, ours.id)
        document = submission_document(
            self.config, request, handle, here, work.snapshot, work.inputs, work.git, self.capture.phases
        )
        if work.git.patch:
            self.workspace.objects.put(self.folder.at(layout.PATCH), work.git.patch)
        return Start(
            target=target,
            request=request,
            document=document,
            ours=ours,
            lineage=self.lineage,
            workspace=self.workspace,
            folder=self.folder,
            surroundings=self.surroundings,
            reporter=self.reporter,
            should_stop=self.should_stop,
            bases=bases,
            given_id=self.given_id,
        ).run(work.snapshot, work.inputs)

    # Steps

    @cached_property
    def folder(self) -> RunFolder:
        return RunFolder(self.workspace, self.experiment, self.run_id)

    def _lineage_of(self, name: str) -> Lineage | None:
        """Return the stored lineage, if its run is (or was) on this target; see it dead where it is on another one."""
        self.stored = ours = Lineage.load(self.lineage)
        if ours is None:
            return None
        # Who watches a run under an id of the caller's is not stored, so nothing is sure about its end.
        has_ended = not self.given_id and previous.has_surely_ended(ours, self._watched_at(ours))
        if ours.connection != name or self._is_other_kind(ours, name):
            if not has_ended:
                self._leave(ours)
            return None
        return replace(ours, host_id="") if has_ended else ours

    def _is_other_kind(self, ours: Lineage, name: str) -> bool:
        """Whether the run was a container of the machine and the next one is none, or the other way round."""
        from airflow_provider.scriptrun.targets.registry import is_engine, runs_containers

        in_container = asks_for_container(self.config)
        if not ours.host_id or not (in_container or is_engine(ours.host_id)):
            return False
        return is_engine(ours.host_id) != runs_containers(name, self.surroundings, in_container=in_container)

    def _watched_at(self, ours: Lineage) -> float | None:
        trail = Trail(self.workspace.objects, layout.run_folder(self.experiment, ours.run_id))
        return previous.last_watched(ours, self.lineage, trail)

    def _leave(self, ours: Lineage) -> None:
        try:
            previous.leave(ours, self._watched_at(ours), self.surroundings, self.reporter, self.should_stop)
        except TargetUnreachableError:
            if self.given_id or not previous.has_surely_ended(ours, self._watched_at(ours)):
                raise

    def _store(self, ours: Lineage | None, name: str, here: HostFacts, limits: Limits) -> Lineage:
        ours = replace(
            ours or Lineage(self._lineage_id(), name, "", self.run_id),
            run_id=self.run_id,
            host_id=here.id,
            orphan_after_s=limits.orphan_after_s,
            grace_s=limits.grace_s,
            watched_at=time.time(),
        )
        ours.save(self.lineage)
        return ours

    def _attempt(self) -> Attempt:
        delivered = self.lineage.get(DELIVERED)
        latest = self.stored.run_id if self.stored else None
        return replace(self.attempt, delivered=delivered is not None and delivered == latest)

    def _lineage_id(self) -> str:
        """Return the id of a new lineage, which follows the one that is stored, if any."""
        if self.seed is None:
            return uuid.uuid4().hex
        follows = self.stored.id if self.stored else ""
        return digest(f"{self.seed}\0{follows}".encode("utf-8", "surrogateescape"))[:32]

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

    def _reach(self, target: ComputeTarget, first: Callable[[], HostFacts], ours: Lineage | None) -> HostFacts:
        try:
            try:
                return first()
            except TargetUnreachableError:
                patience = (
                    previous.patience(ours, self._watched_at(ours), self.settings)
                    if ours is not None and ours.host_id
                    else patience_without_run(self.settings)
                )
                return reach(self.reporter, target.host, should_stop=self.should_stop, patience=patience)
        except OtherHostError as error:
            if ours is None:
                raise
            raise previous.explain_other_host(error, ours, self._watched_at(ours)) from error
