"""From what was submitted, what the target says and what came back to the parts of a run record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.runs import workspace_layout as layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from airflow_provider.scriptrun.runs.collect import CollectedFile
    from airflow_provider.scriptrun.runs.metrics import Messages
    from airflow_provider.scriptrun.runs.run_folder import RunFolder
    from airflow_provider.scriptrun.targets.contract import RunStatus

_OUTPUTS = f"{layout.OUTPUTS}/"


def describe(
    folder: RunFolder, experiment: str, status: RunStatus, files: Sequence[CollectedFile], messages: Messages
) -> dict[str, Any]:
    """Return the parts that :func:`.record.make_record` takes."""
    submission = folder.submission
    sizes = {file.path: file.size for file in files}
    has_packages = layout.PACKAGES in sizes
    has_patch = submission["git"]["has_patch"]
    return {
        "run_id": folder.run_id,
        "experiment": experiment,
        "status": status.status.value,
        "reason": status.reason.value if status.reason else None,
        "message": status.message,
        "target": {
            "name": submission["target"]["name"],
            "type": submission["target"]["type"],
            "host": status.host.name if status.host else submission["target"]["host"],
        },
        "snapshot": _pick(submission["snapshot"], "id", "files", "bytes", "sent_files", "sent_bytes"),
        "inputs": {
            name: _pick(facts, "uri", "id", "files", "bytes", "sent_files", "sent_bytes")
            for name, facts in submission["inputs"].items()
        },
        "environment": {
            "name": submission["environment"]["name"],
            **_environment(status),
            "packages_uri": folder.uri(layout.PACKAGES) if has_packages else None,
        },
        "git": {
            **_pick(submission["git"], "commit", "branch", "repository", "dirty"),
            "patch_uri": folder.uri(layout.PATCH) if has_patch else None,
        },
        "airflow": dict(submission["airflow"]),
        "command": [*(status.command or submission["command"])],
        "started_at": _iso(status.started_at),
        "ended_at": _iso(status.ended_at),
        "phases": {**submission["phases"], **{name: round(value, 3) for name, value in status.phases.items()}},
        "exit_code": status.exit_code,
        "signal": status.signal,
        "metrics": messages.last,
        "outputs": _outputs(folder, files),
        "log": {"uri": folder.uri(layout.RUN_LOG), "bytes": sizes.get(layout.RUN_LOG)},
    }


def _environment(status: RunStatus) -> dict[str, Any]:
    facts = status.environment
    return {} if facts is None else {"id": facts.id, "reused": facts.reused, "python": facts.python}


def _outputs(folder: RunFolder, files: Sequence[CollectedFile]) -> dict[str, Any]:
    outputs = [file for file in files if file.path.startswith(_OUTPUTS)]
    return {
        "uri": folder.uri(layout.OUTPUTS),
        "count": len(outputs),
        "bytes": sum(file.size for file in outputs),
        "files": [
            {"path": file.path.removeprefix(_OUTPUTS), "size": file.size, "sha256": file.sha256} for file in outputs
        ],
    }


def _pick(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: document[name] for name in names}


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
