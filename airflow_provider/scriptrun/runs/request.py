"""What is asked of a target, and what the workspace keeps of it."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.config.docker import DockerConfiguration
from airflow_provider.scriptrun.targets.contract import Limits, StagedInput, StartRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider.scriptrun.config import ScriptRunConfig
    from airflow_provider.scriptrun.environments.plan import EnvironmentPlan
    from airflow_provider.scriptrun.runs.inputs import Input
    from airflow_provider.scriptrun.runs.lineage import Attempt
    from airflow_provider.scriptrun.runs.settings import Settings
    from airflow_provider.scriptrun.snapshot import GitFacts, Snapshot
    from airflow_provider.scriptrun.targets.contract import ComputeTarget, Handle, HostFacts

DAY_SECONDS = 86_400.0
#: Raised by one when a field of config.json changes its meaning.
SUBMISSION_VERSION = 1
LOCAL = "local"


def limits_of(config: ScriptRunConfig, settings: Settings, target: ComputeTarget) -> Limits:
    """Return what bounds a run: the configuration's own limit, the settings, and what the connection says."""
    is_local = target.target_type == LOCAL
    orphan_after = settings.local_orphan_after_seconds if is_local else settings.orphan_after_seconds
    max_runs = settings.local_max_runs if target.name == LOCAL else getattr(target, "max_runs", None)
    return replace(
        disk_limits(settings),
        max_run_duration_s=config.max_run_duration_seconds,
        grace_s=settings.cancel_grace_seconds,
        orphan_after_s=float(orphan_after) or None,
        max_runs=max_runs or None,
    )


def disk_limits(settings: Settings) -> Limits:
    """Return what bounds the disk that is used on any target, and nothing else."""
    return Limits(
        budget_bytes=settings.target_budget_bytes or None,
        budget_age_s=settings.target_max_age_days * DAY_SECONDS or None,
        environment_budget_bytes=settings.environment_budget_bytes or None,
        environment_age_s=settings.environment_max_age_days * DAY_SECONDS or None,
    )


def start_request(
    *,
    run_id: str,
    lineage: str,
    experiment: str,
    argv: tuple[str, ...],
    snapshot: Snapshot,
    inputs: Mapping[str, Input],
    plan: EnvironmentPlan,
    variables: Mapping[str, str],
    secret_variables: Mapping[str, str],
    inherit: tuple[str, ...],
    attempt: Attempt,
    limits: Limits,
    tags: Mapping[str, str],
    airflow: Mapping[str, Any],
    container: Mapping[str, Any],
) -> StartRequest:
    """Return the request; its ``context`` is what ``Run.get_context().get_details()`` gives to the script."""
    context = {
        "run_id": run_id,
        "experiment": experiment,
        "snapshot": snapshot.id,
        "tags": dict(tags),
        "airflow": dict(airflow),
    }
    return StartRequest(
        run_id=run_id,
        lineage=lineage,
        experiment=experiment,
        argv=argv,
        snapshot_id=snapshot.id,
        inputs={name: StagedInput(data.id, data.is_file) for name, data in inputs.items()},
        attempt=attempt,
        environment=plan.document,
        secret_environment=plan.secrets,
        variables=variables,
        secret_variables=secret_variables,
        inherit=inherit,
        limits=limits,
        context=context,
        container=container,
    )


def asks_for_container(config: ScriptRunConfig) -> bool:
    """Whether a resolved configuration wants a container, on whatever machine its target is."""
    return config.docker_runtime_config.use_docker or config.environment.docker.kind is not None


def container_of(config: ScriptRunConfig) -> Mapping[str, Any]:
    """Return what a resolved configuration asks of the container that it runs in; empty: nothing."""
    if config.docker_runtime_config == DockerConfiguration():
        return {}
    from airflow_provider.scriptrun.config.docker_arguments import container_options

    return container_options(config.docker_runtime_config)


def submission_document(
    config: ScriptRunConfig,
    request: StartRequest,
    handle: Handle,
    here: HostFacts,
    snapshot: Snapshot,
    inputs: Mapping[str, Input],
    git: GitFacts,
    phases: Mapping[str, float],
) -> dict[str, Any]:
    """Return ``config.json``: what was submitted, as plain JSON without secrets, and the handle to come back by."""
    return {
        "version": SUBMISSION_VERSION,
        "run_id": request.run_id,
        "experiment": request.experiment,
        "submitted_at": datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "source_directory": str(snapshot.root),
        "config": _plain(config),
        "command": list(request.argv),
        "tags": request.context["tags"],
        "airflow": request.context["airflow"],
        "attempt": asdict(request.attempt),
        "limits": asdict(request.limits),
        "target": {"name": handle.connection, "type": handle.target, "host": here.name},
        "handle": handle.document(),
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
        "inputs": {name: data.document() for name, data in inputs.items()},
        "environment": {**request.environment, "name": config.environment.name},
        "git": {
            "commit": git.commit,
            "branch": git.branch,
            "repository": git.repository,
            "dirty": git.dirty,
            "reason": git.reason,
            "source": git.source,
            "has_patch": bool(git.patch),
        },
        "phases": dict(phases),
    }


def _plain(config: ScriptRunConfig) -> dict[str, Any]:
    """Return what a person wrote as plain JSON; of secret variables only the names, of an address no signature."""
    document = config.to_template_dict()
    if config.inputs:
        document["inputs"] = {
            name: source.partition("?")[0] if "://" in source else source for name, source in config.inputs.items()
        }
    if config.secret_variables:
        document["secret_variables"] = sorted(config.secret_variables)
    return document
