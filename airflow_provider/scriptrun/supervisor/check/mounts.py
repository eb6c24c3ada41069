"""Which file system holds a folder, and how it is mounted: read from ``/proc/self/mountinfo`` (proc(5))."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from .machine import read

MOUNTINFO = "/proc/self/mountinfo"
#: Between the optional fields of a line and the type of the file system.
_SEPARATOR = "-"
_FIELDS_BEFORE, _FIELDS_AFTER = 6, 3
_MOUNT_POINT, _OPTIONS = 4, 5


class Mount(NamedTuple):
    """One line of mountinfo."""

    path: str  #: where it is mounted
    type: str  #: for instance ``ext4`` or ``nfs4``
    options: List[str]  #: of this mount, and of the file system


def of(folders: Mapping[str, str]) -> Dict[str, Optional[Dict[str, Any]]]:
    """Return ``{"folder", "path", "type", "options"}`` of the mount under each folder; ``None`` where unknown."""
    mounts = parse(read(MOUNTINFO))
    found: Dict[str, Optional[Dict[str, Any]]] = {}
    for name, folder in folders.items():
        mount = under(mounts, os.path.realpath(folder))
        found[name] = None if mount is None else dict(mount._asdict(), folder=folder)
    return found


def parse(mountinfo: str) -> List[Mount]:
    """Return the mounts in the text of mountinfo, in their order; a line that makes no sense is passed over."""
    mounts = []
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if _SEPARATOR not in fields[_FIELDS_BEFORE:]:
            continue
        end = fields.index(_SEPARATOR, _FIELDS_BEFORE)
        after = fields[end + 1 :]
        if len(after) < _FIELDS_AFTER:
            continue
        options = fields[_OPTIONS].split(",") + after[2].split(",")
        mounts.append(Mount(_unescaped(fields[_MOUNT_POINT]), after[0], list(dict.fromkeys(options))))
    return mounts


def under(mounts: List[Mount], path: str) -> Optional[Mount]:
    """Return the mount that the absolute ``path`` lies on: the longest prefix, of equals the last."""
    found = None
    for mount in mounts:
        prefix = mount.path.rstrip("/") + "/"
        if (path.rstrip("/") + "/").startswith(prefix) and (found is None or len(mount.path) >= len(found.path)):
            found = mount
    return found


def _unescaped(field: str) -> str:
    """Return a field with its octal escapes (space, tab, newline, backslash) resolved."""
    head, *parts = field.split("\\")
    text = head
    for part in parts:
        digits = part[:3]
        is_escape = len(digits) == 3 and not digits.strip("01234567") and int(digits, 8) < 256
        text += chr(int(digits, 8)) + part[3:] if is_escape else "\\" + part
    return text
