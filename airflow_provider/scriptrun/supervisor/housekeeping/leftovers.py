"""What nobody asks for any more and no budget counts: temporary files, tombstones, lineages, old supervisors."""

from __future__ import annotations

import contextlib
import json
import os
import re

from .. import flock
from ..layout import TOOLS, ToolLayout
from ..store import tree
from . import removal

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Collection, Iterator, Tuple

    from ..layout import Layout

#: A start that comes later than this after its cancel finds no tombstone.
TOMBSTONE_KEEP_S = 14 * 86400.0
#: A lineage is remembered this long after its last start or join, and at least twice as long as its runs are kept:
#: a start that is repeated must find that its run has been, even when it is gone.
LINEAGE_KEEP_S = 28 * 86400.0
#: A supervisor of another version goes when no run and no session has used it for so long: it is quickly sent again.
SUPERVISOR_KEEP_S = 7 * 86400.0
#: A lent program goes when it has built nothing for so long.
TOOL_KEEP_S = 30 * 86400.0
#: What was written to within this time may still be written to.
TEMPORARY_KEEP_S = 3600.0

_HASHED = re.compile("[0-9a-f]{64}")


def remove_temporary(layout: Layout, now: float) -> None:
    """Remove what killed writers left: half-received blobs, and files that were to be renamed."""
    for name, path, changed in _entries(layout.incoming):
        if now - changed > TEMPORARY_KEEP_S and not _HASHED.fullmatch(name):
            _unlink(path)
    for folder in (layout.snapshots, layout.lineages, layout.tombstones):
        for name, path, changed in _entries(folder):
            if now - changed > TEMPORARY_KEEP_S and name.endswith(".tmp"):
                _unlink(path)


def remove_tombstones(layout: Layout, now: float) -> None:
    """Remove tombstones whose start will not come any more."""
    for _, path, changed in _entries(layout.tombstones):
        if now - changed > TOMBSTONE_KEEP_S:
            _unlink(path)


def remove_lineages(layout: Layout, now: float, run_age_s: float) -> None:
    """Remove the records and checkpoints of lineages whose runs are all gone, and that nobody has asked about."""
    keep_s = max(LINEAGE_KEEP_S, 2 * run_age_s)
    runs = set(layout.run_ids())
    for name, path, changed in _entries(layout.lineages):
        if not _HASHED.fullmatch(name) or now - changed <= keep_s:
            continue
        lock = flock.take(path + ".lock")
        if lock is None:
            continue
        try:
            if not _names_any(path, runs) and now - os.stat(path).st_mtime > keep_s:
                with contextlib.suppress(FileNotFoundError):
                    removal.remove(os.path.join(layout.checkpoints, name), layout.trash)
                _unlink(path)
                _unlink(path + ".lock")
        finally:
            os.close(lock)


def _names_any(record: str, runs: Collection[str]) -> bool:
    try:
        with open(record, "rb") as file:
            return any(entry["id"] in runs for entry in json.loads(file.read())["runs"])
    except (ValueError, KeyError, TypeError):
        return False  # a power loss emptied it


def remove_supervisors(layout: Layout, now: float, in_use: Collection[str]) -> None:
    """Remove the supervisors of other versions that nobody uses. A session marks its own when it begins."""
    for name, path, changed in _entries(layout.supervisors):
        if name not in in_use and now - changed > SUPERVISOR_KEEP_S:
            removal.remove(path, layout.trash)


def remove_tools(layout: Layout, now: float) -> Tuple[int, int]:
    """Remove the programs that workers have lent and nobody used for long, and what a broken transfer left of one.

    Return how many programs went, and their bytes.
    """
    count = freed = 0
    for name, path, _ in _entries(layout.tools):
        tools = [ToolLayout(path, tool) for tool in TOOLS]
        is_whole = any(os.path.exists(tool.program) for tool in tools)
        keep_s = TOOL_KEEP_S if is_whole else TEMPORARY_KEEP_S
        if not _HASHED.fullmatch(name) or now - _last_used(tools[0]) <= keep_s:
            continue
        lock = flock.take(tools[0].in_use)
        if lock is None:
            continue  # a builder, or somebody who sends it, holds it
        try:
            if now - os.fstat(lock).st_mtime > keep_s:  # else it was taken into use since we looked
                size = tree.measure(path).bytes
                removal.remove(path, layout.trash)
                count += is_whole
                freed += size
        finally:
            os.close(lock)
    return count, freed


def _last_used(tool: ToolLayout) -> float:
    try:
        return os.stat(tool.in_use).st_mtime
    except FileNotFoundError:
        return os.stat(tool.folder).st_mtime


def _entries(folder: str) -> Iterator[Tuple[str, str, float]]:
    """Yield name, path and modification time (seconds since the epoch) of all that is in a folder."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    for name in names:
        path = os.path.join(folder, name)
        with contextlib.suppress(FileNotFoundError):
            yield name, path, os.stat(path, follow_symlinks=False).st_mtime


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
