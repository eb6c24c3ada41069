"""Which machine this is, and which boot of it: what tells "rebooted" from "another machine that shares the root"."""

from __future__ import annotations

import os

from .protocol.atomic import write_atomic

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Dict

    from .layout import Layout

MACHINE_ID = "/etc/machine-id"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
#: What an image builder leaves in /etc/machine-id for the first boot to replace (machine-id(5)).
_UNSET = ("", "uninitialized")


def facts(layout: Layout) -> Dict[str, str]:
    """Return ``{"id", "boot_id", "name"}`` of this machine."""
    return {
        "id": machine_id(layout),
        "boot_id": _first_line(BOOT_ID),
        "name": _first_line(layout.engine_name) or name(),
    }


def name() -> str:
    """Return the host's name, for messages only."""
    return os.uname().nodename


def machine_id(layout: Layout) -> str:
    """Return /etc/machine-id, or an id kept in the root where there is none.

    In a container both would be the image's: there the engine's own stands in the root, and wins.
    """
    for path in (layout.engine, MACHINE_ID, layout.machine):
        found = _first_line(path)
        if found not in _UNSET:
            return found
    made = os.urandom(16).hex()
    try:
        descriptor = os.open(layout.machine, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:  # somebody was faster, or an earlier one died before it wrote
        if not _first_line(layout.machine):
            write_atomic(layout.machine, made + "\n")
    else:
        os.write(descriptor, made.encode("ascii") + b"\n")
        os.close(descriptor)
    return _first_line(layout.machine)


def _first_line(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.readline(200).decode("ascii", "replace").strip()
    except OSError:
        return ""
