"""Which environments may go: too old first, then the least recently used; never one in use or just used."""

import json
import os
import shutil
import time
from contextlib import suppress
from typing import Dict, List, NamedTuple, Optional

from .. import flock
from ..layout import EnvironmentLayout, Layout
from ..protocol.atomic import write_atomic
from ..protocol.canonical import canonical_json
from .shelf import keys, read_complete, remove, sweep_all

#: Between preparing an environment and the run's lock on it there is a moment; nothing used so lately is removed.
JUST_USED_S = 600.0
_BLOCK_BYTES = 512  # stat(2): st_blocks counts these


class Shelved(NamedTuple):
    """One environment, as a clean sees it."""

    key: str
    used_at: float  #: seconds since the epoch
    bytes: int  #: on disk


def clean(layout: Layout, *, budget_bytes: Optional[int], max_age_s: Optional[float]) -> Dict[str, int]:
    """Remove environments: those not used for ``max_age_s`` seconds, then the least recently used until all take
    at most ``budget_bytes``; leftovers of killed builders; locks that nothing has needed for ``max_age_s``.
    ``None``: no such bound.

    Never one that a run holds, is being built, or was used within the last ten minutes.
    Returns ``{"environments": how many, "bytes": on disk}``.
    """
    sweep_all(layout)
    _sweep_incomplete(layout)
    shelf = [_shelved(layout, key) for key in keys(layout)]
    present = [one for one in shelf if one is not None]
    removed = {"environments": 0, "bytes": 0}
    for one in to_remove(present, budget_bytes, max_age_s, time.time()):
        if _remove_unused(layout, one):
            removed["environments"] += 1
            removed["bytes"] += one.bytes
    if max_age_s is not None:
        _remove_old_files(layout, time.time() - max_age_s)
    return removed


def to_remove(
    shelf: List[Shelved], budget_bytes: Optional[int], max_age_s: Optional[float], now: float
) -> List[Shelved]:
    """Return which environments may go, the least recently used first: a pure decision, before any lock is asked."""
    total = sum(one.bytes for one in shelf)
    chosen = []
    for one in sorted(shelf, key=lambda one: one.used_at):
        if now - one.used_at < JUST_USED_S:
            break
        is_old = max_age_s is not None and now - one.used_at > max_age_s
        if is_old or (budget_bytes is not None and total > budget_bytes):
            chosen.append(one)
            total -= one.bytes
    return chosen


def _shelved(layout: Layout, key: str) -> Optional[Shelved]:
    parts = layout.environment_parts(key)
    try:
        used_at = os.stat(parts.in_use).st_mtime
    except OSError:
        return None
    return Shelved(key, used_at, _size(parts))


def _size(parts: EnvironmentLayout) -> int:
    """Return the environment's bytes on disk; measured once, for it does not change."""
    try:
        with open(parts.size, "rb") as stream:
            return int(json.loads(stream.read()))
    except (OSError, ValueError, TypeError):
        pass
    total = 0
    for folder, _, names in os.walk(parts.folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * _BLOCK_BYTES
    with suppress(OSError):  # a full disk may be why we are here; it is measured again next time
        write_atomic(parts.size, canonical_json(total))
    return total


def _remove_unused(layout: Layout, one: Shelved) -> bool:
    parts = layout.environment_parts(one.key)
    descriptor = flock.take_existing(parts.in_use)
    if descriptor is None:
        return False  # a run holds it
    try:
        if os.fstat(descriptor).st_mtime != one.used_at:
            return False  # taken into use since we looked
        remove(layout, parts.folder)
    finally:
        os.close(descriptor)
    return True


def _sweep_incomplete(layout: Layout) -> None:
    """Remove folders without the mark, of builders that work in place and died."""
    for key in keys(layout):
        parts = layout.environment_parts(key)
        if read_complete(parts) is not None:
            continue
        descriptor = flock.take_existing(layout.environment_flock(key))
        if descriptor is None:
            continue
        try:
            if read_complete(parts) is None:
                shutil.rmtree(parts.folder, ignore_errors=True)
        finally:
            os.close(descriptor)


def _remove_old_files(layout: Layout, before: float) -> None:
    """Remove locks and package lists that were last written or used ``before`` then, and flocks that nobody holds."""
    try:
        names = os.listdir(layout.locks)
    except FileNotFoundError:
        return
    for name in names:
        path = os.path.join(layout.locks, name)
        descriptor = None
        try:
            if os.stat(path).st_mtime >= before:
                continue
            if name.endswith(".flock"):
                descriptor = flock.take_existing(path)
                if descriptor is None:
                    continue
            os.unlink(path)
        except FileNotFoundError:
            continue
        finally:
            if descriptor is not None:
                os.close(descriptor)
