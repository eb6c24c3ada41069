"""Out of memory, inferred: the kernel says in counters, not to the process, that its killer was at work.

Measured: the own cgroup's ``oom_kill`` rises when the killer ends a process of it; ``/proc/vmstat`` counts the whole
host. systemd-oomd and earlyoom leave no counter, and Python's MemoryError is no kill.
"""

from __future__ import annotations

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

_HOST_COUNTER = "/proc/vmstat"


def counters() -> Dict[str, Any]:
    """Return what to compare with later: ``{"path", "cgroup", "host"}``, ``None`` where the kernel is silent."""
    path = _cgroup_file()
    return {"path": path, "cgroup": _count(path), "host": _count(_HOST_COUNTER)}


def explain(before: Optional[Dict[str, Any]], killed: bool) -> Optional[str]:
    """Return a sentence when the counters say that memory ran out, ``None`` when they do not.

    :param before: what ``counters`` returned when the script started.
    :param killed: whether it ended by SIGKILL; without it the host's counter means nothing.
    """
    if not before:
        return None
    if _rose(before["cgroup"], _count(before["path"])):
        return "The kernel's out-of-memory killer ended a process in its control group: memory ran out."
    if killed and _rose(before["host"], _count(_HOST_COUNTER)):
        return "The kernel's out-of-memory killer was at work on this host meanwhile: memory probably ran out."
    return None


def _rose(before: Optional[int], after: Optional[int]) -> bool:
    return before is not None and after is not None and after > before


def _count(path: Optional[str]) -> Optional[int]:
    try:
        with open(path or "", "rb") as file:
            for line in file:
                name, _, value = line.partition(b" ")
                if name == b"oom_kill":
                    return int(value)
    except (OSError, ValueError):
        pass
    return None


def _cgroup_file() -> Optional[str]:
    """Return the file with this process's cgroup's counter. In a container /proc/self/cgroup names the host's path."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            groups = [line.rstrip("\n").split(":", 2) for line in file]
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return None
    return _find(groups, mounts)


def _find(groups: List[List[str]], mounts: List[List[str]]) -> Optional[str]:
    """Return the first that can be read, by the fields of /proc/self/cgroup and of /proc/self/mountinfo (proc(5))."""
    for fields in mounts:
        separator = fields.index("-")
        kind, options = fields[separator + 1], fields[separator + 3].split(",")
        if kind == "cgroup2":
            controllers, name = [""], "memory.events"
        elif kind == "cgroup" and "memory" in options:
            controllers, name = ["memory"], "memory.oom_control"
        else:
            continue
        root, mount_point = fields[3], fields[4]
        for _, names, path in groups:
            if not any(controller in names.split(",") for controller in controllers):
                continue
            inside = path[len(root.rstrip("/")) :] if path.startswith(root.rstrip("/") + "/") else ""
            for candidate in ("%s%s/%s" % (mount_point, inside, name), "%s/%s" % (mount_point, name)):
                if _count(candidate) is not None:
                    return candidate
    return None
