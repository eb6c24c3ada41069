"""Every name in a workspace, in one place."""

from __future__ import annotations

RECORD, CONFIG, STATUS = "record.json", "config.json", "status.json"
TAGS, FILES = "tags.json", "files.json"
RUN_LOG, BUILD_LOG, MESSAGES = "run.log", "build.log", "messages.jsonl"
PACKAGES, PATCH = "packages.txt", "changes.patch"
OUTPUTS, LOGS = "outputs", "logs"
#: Names that this side writes into a run's folder; nothing that a target sends may take their place.
OURS = frozenset({RECORD, CONFIG, STATUS, TAGS, FILES, PATCH, "lineage.json"})
EXPERIMENTS = "experiments"
PACKS = "packs"


def experiment_folder(experiment: str) -> str:
    """Return where an experiment's runs lie."""
    return f"{EXPERIMENTS}/{experiment}"


def run_folder(experiment: str, run_id: str) -> str:
    """Return where everything of one run lies."""
    return f"{EXPERIMENTS}/{experiment}/{run_id}"


def contents_object(run_folder: str) -> str:
    """Return the object that says which contents the experiment of a run has brought, and where they lie."""
    return f"contents/{run_folder.split('/')[1]}.json"


def snapshot_object(snapshot_id: str) -> str:
    """Return the object that says what a snapshot holds, and where its blobs lie."""
    return f"snapshots/{snapshot_id}"


def pack_object(pack_id: str) -> str:
    """Return the object that holds the blobs that one submission added."""
    return f"{PACKS}/{pack_id}.pack"
