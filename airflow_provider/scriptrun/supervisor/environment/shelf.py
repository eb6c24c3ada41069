"""The environments on this target: taken into use if complete, put there by one rename, leftovers swept."""

import json
import os
from typing import Any, Dict, List, NamedTuple, Optional

from .. import flock
from ..layout import EnvironmentLayout, Layout
from ..protocol.atomic import write_atomic
from ..protocol.canonical import canonical_json
from .prepared import Prepared

_DRAFT = ".tmp."


class Complete(NamedTuple):
    """What an environment says of itself; its file is written last, so a folder without it is no environment."""

    python: str  #: version
    packages: int  #: how many
    tool: str  #: what built it
    built_at: float  #: seconds since the epoch
    variables: Dict[str, str]  #: what the script needs in its environment beside PATH


def adopt(layout: Layout, key: str) -> Optional[Complete]:
    """Return what is known of the environment ``key`` and mark it as just used; ``None`` where there is none to use.

    Takes its ``in-use`` lock for a moment, so that a clean either sees the mark or has taken it away already.
    """
    parts = layout.environment_parts(key)
    complete = read_complete(parts)
    if complete is None or not os.path.exists(parts.python):  # its base interpreter may have been uninstalled
        return None
    descriptor = flock.take_existing(parts.in_use, shared=True)
    if descriptor is None:
        return None
    try:
        os.utime(parts.in_use)
    finally:
        os.close(descriptor)
    return complete


def read_complete(parts: EnvironmentLayout) -> Optional[Complete]:
    """Return what ``complete.json`` says, or ``None``: no environment, or a damaged one."""
    try:
        with open(parts.complete, "rb") as stream:
            return Complete(**json.loads(stream.read()))
    except (OSError, ValueError, TypeError):
        return None


def write_complete(parts: EnvironmentLayout, complete: Complete, packages: str) -> None:
    """Write the package list, the file to lock, and last the mark that the environment is whole."""
    write_atomic(parts.packages, packages)
    write_atomic(parts.in_use, b"")
    write_atomic(parts.complete, canonical_json(complete._asdict()))


def publish(draft: str, layout: Layout, key: str) -> None:
    """Rename a whole environment into its place; a useless one makes room. The key's flock is held."""
    remove(layout, layout.environment(key))
    os.rename(draft, layout.environment(key))


def remove(layout: Layout, folder: str) -> None:
    """Remove an environment, if it is there; renamed first, so that nobody takes half of it for a whole one."""
    trash = os.path.join(layout.environments, "%s%s.%s" % (_DRAFT, "0" * 64, os.urandom(4).hex()))
    try:
        os.rename(folder, trash)
    except FileNotFoundError:
        return
    _remove_tree(trash)


def _remove_tree(folder: str, ignore_errors: bool = False) -> None:
    import shutil  # milliseconds, and a reuse removes nothing

    shutil.rmtree(folder, ignore_errors=ignore_errors)


def drafts(layout: Layout, key: Optional[str] = None) -> List[str]:
    """Return what builders left behind or are at work on: all of it, or that of one key."""
    prefix = _DRAFT + (key + "." if key else "")
    try:
        names = os.listdir(layout.environments)
    except FileNotFoundError:
        return []
    return [os.path.join(layout.environments, name) for name in names if name.startswith(prefix)]


def sweep(layout: Layout, key: str) -> None:
    """Remove the drafts of ``key``, whose flock the caller holds: whoever made them is dead."""
    for draft in drafts(layout, key):
        _remove_tree(draft, ignore_errors=True)


def sweep_all(layout: Layout) -> None:
    """Remove every draft whose builder is dead: its key's flock is free."""
    for draft in drafts(layout):
        key = os.path.basename(draft)[len(_DRAFT) :].partition(".")[0]
        lock = layout.environment_flock(key)
        descriptor = flock.take_existing(lock)
        if descriptor is None and os.path.exists(lock):
            continue
        try:
            _remove_tree(draft, ignore_errors=True)
        finally:
            if descriptor is not None:
                os.close(descriptor)


def keys(layout: Layout) -> List[str]:
    """Return the keys of every environment that has a folder, whole or not."""
    try:
        names = os.listdir(layout.environments)
    except FileNotFoundError:
        return []
    return [name for name in names if len(name) == 64 and not name.strip("0123456789abcdef")]


def of_complete(
    parts: EnvironmentLayout,
    complete: Complete,
    kind: str,
    key: str,
    delivery: Dict[str, Any],
    *,
    reused: bool,
    lock_reused: bool,
    hold: Optional[str],
) -> Prepared:
    """Return an environment of ours that stands, made of packages: ``kind`` pip or conda."""
    variables = dict(delivery.get("variables") or {}, **complete.variables)
    if kind == "pip":
        variables["VIRTUAL_ENV"] = parts.folder
    return Prepared(
        key=key,
        kind=kind,
        reused=reused,
        lock_reused=lock_reused,
        interpreter=parts.python,
        python=complete.python,
        bin_dirs=[parts.bin],
        variables=variables,
        packages=parts.packages,
        package_count=complete.packages,
        hold=hold,
    )
