"""What a submission finds on this side: the source directory's files, its Git facts, the plan of the environment."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import ConfigurationError
from airflow_provider.scriptrun.runs.progress import Progress, counted, readable
from airflow_provider.scriptrun.runs.request import DAY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider.scriptrun.config import ScriptRunConfig
    from airflow_provider.scriptrun.environments.plan import EnvironmentPlan
    from airflow_provider.scriptrun.runs.inputs import Input
    from airflow_provider.scriptrun.runs.reporter import Reporter
    from airflow_provider.scriptrun.runs.surroundings import Surroundings
    from airflow_provider.scriptrun.runs.workspace import Workspace
    from airflow_provider.scriptrun.snapshot import Bundle, GitFacts, Snapshot
    from airflow_provider.scriptrun.targets.contract import ComputeTarget


@dataclass
class Capture:
    """Reads what a configuration names, and keeps it in the workspace.

    :param bundle: the DAG bundle, that stands in when there is no Git.
    :param refresh_environment: resolve its requirements again, whatever the target has kept.
    :param phases: seconds by name: ``snapshot``, ``keep`` and, where there are any, ``hash_inputs`` are added.
    """

    config: ScriptRunConfig
    workspace: Workspace
    surroundings: Surroundings
    reporter: Reporter
    bundle: Bundle | None = None
    refresh_environment: bool = False
    phases: dict[str, float] = field(default_factory=dict)

    def find_script(self, snapshot: Snapshot, *, is_new: bool) -> None:
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

    def git_facts(self, source: Path) -> GitFacts:
        """Return what Git (or the DAG's bundle) says about the source directory."""
        from airflow_provider.scriptrun.snapshot import git_facts

        return git_facts(source, bundle=self.bundle)

    def plan(self, target: ComputeTarget) -> EnvironmentPlan:
        """Return the plan of the environment on a target, whose secrets the masker knows from now on."""
        from airflow_provider.scriptrun.environments.plan import plan
        from airflow_provider.scriptrun.environments.settings import EnvironmentSettings

        settings = self.surroundings.settings
        indexes = words(settings.extra_index_urls)
        planned = plan(
            self.config.environment,
            base_directory=self.surroundings.base_directory,
            settings=EnvironmentSettings(
                index_url=target.index_url or settings.index_url or None,
                extra_index_urls=indexes,
                ca_file=Path(ca_file) if (ca_file := target.ca_file or settings.ca_file) else None,
                lock_max_age_s=settings.environment_lock_max_age_days * DAY_SECONDS or None,
                refresh=self.refresh_environment,
            ),
            secret=self.surroundings.secret,
        )
        for secret in planned.confidential:
            self.surroundings.mask(secret)
        return planned

    def take(self, source: Path) -> Snapshot:
        """Take the snapshot of the source directory."""
        from airflow_provider.scriptrun.snapshot import Limits, take

        began = time.monotonic()
        progress = self._progress(f"Hashing {source}")
        snapshot = take(
            source,
            cache_directory=Path(self.surroundings.settings.cache_directory),
            limits=Limits(
                warn_bytes=self.surroundings.settings.snapshot_warn_bytes,
                warn_files=self.surroundings.settings.snapshot_warn_files,
                max_bytes=self.surroundings.settings.snapshot_max_bytes,
            ),
            progress=lambda _files, count: progress.reach(count),
        )
        progress.finish()
        for warning in snapshot.warnings:
            self.reporter.warning(warning)
        self.phases["snapshot"] = round(time.monotonic() - began, 3)
        return snapshot

    def keep(self, snapshot: Snapshot) -> bool:
        """Keep the snapshot; return whether the workspace had not seen it yet."""
        began = time.monotonic()
        progress = self._progress("Keeping the snapshot in the workspace")
        kept = self.workspace.keep_snapshot(
            snapshot, Path(self.surroundings.settings.cache_directory), progress.advance
        )
        progress.finish()
        self.phases["keep"] = round(time.monotonic() - began, 3)
        self.reporter.note(
            f"Snapshot {snapshot.id[:12]}: {counted(snapshot.files, 'file')}, {readable(snapshot.bytes)}; "
            + (f"{kept.blobs} new in the workspace ({readable(kept.bytes)})." if kept.blobs else "nothing new.")
        )
        return bool(kept.blobs)

    def inputs(self, snapshot: Snapshot) -> Mapping[str, Input]:
        """Hash the inputs, by name. Raises what :meth:`.Inputs.take` does, and for one that the snapshot has itself."""
        if not self.config.inputs:
            return {}
        from airflow_provider.scriptrun.runs.inputs import Inputs, refuse_clashes

        began = time.monotonic()
        refuse_clashes(self.config.inputs, snapshot)
        found = Inputs(self.workspace, self.surroundings, self.reporter).take(self.config.inputs)
        self.phases["hash_inputs"] = round(time.monotonic() - began, 3)
        return found

    def _progress(self, what: str) -> Progress:
        return Progress(self.reporter, what, is_terminal=self.surroundings.is_terminal)


def words(text: str) -> tuple[str, ...]:
    """Return the items of a setting that are separated by commas or spaces."""
    return tuple(word for word in re.split(r"[,\s]+", text) if word)
