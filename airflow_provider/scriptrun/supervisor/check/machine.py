"""The machine and its system: what kind, how large."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, List, Mapping, Optional

#: os-release(5): the second where the first is not there.
_OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
_MEMORY = "/proc/meminfo"
#: What NVIDIA's driver says of each GPU; asking nvidia-smi can take seconds, or hang with the driver.
_GPUS = "/proc/driver/nvidia/gpus"
_KIBIBYTE = 1024
#: No file that is read here is larger.
_MAX_FILE_BYTES = 256 * 1024


def facts() -> Dict[str, Any]:
    """Return ``{"os", "kernel", "cpus", "memory_bytes", "gpus"}``; ``cpus`` are those that we may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "os": os_name(next(filter(None, map(read, _OS_RELEASE)), "")),
        "kernel": os.uname().release,
        "cpus": len(affinity(0)) if affinity else os.cpu_count(),
        "memory_bytes": total_memory(read(_MEMORY)),
        "gpus": _gpus(_GPUS),
    }


def read(path: str) -> str:
    """Return a small text file; what cannot be read is empty."""
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def os_name(release: str) -> Optional[str]:
    """Return the name for people in the text of an os-release(5) file."""
    values = {}
    for line in release.splitlines():
        name, separator, value = line.strip().partition("=")
        if separator and not name.startswith("#"):
            values[name] = _unquoted(value)
    return values.get("PRETTY_NAME") or values.get("NAME") or None


def _unquoted(value: str) -> str:
    import shlex

    try:
        return " ".join(shlex.split(value))
    except ValueError:
        return value


def total_memory(meminfo: str) -> Optional[int]:
    """Return the bytes of memory in the text of /proc/meminfo."""
    for line in meminfo.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "MemTotal:" and words[1].isdigit():
            return int(words[1]) * _KIBIBYTE
    return None


def _gpus(folder: str) -> List[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [gpu_model(read(os.path.join(folder, name, "information"))) for name in names]


def gpu_model(information: str) -> str:
    """Return the model in the driver's text about one GPU."""
    for line in information.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "Model" and value.strip():
            return value.strip()
    return "NVIDIA GPU"


def disk(folder: str) -> Dict[str, int]:
    """Return the size of the file system that holds ``folder``, and what of it is free for us.

    Where a file system makes inodes as they are needed, it says that it has 0 of them.
    """
    found = os.statvfs(folder)
    return {
        "bytes": found.f_blocks * found.f_frsize,
        "free_bytes": found.f_bavail * found.f_frsize,
        "inodes": found.f_files,
        "free_inodes": found.f_favail,
    }


def locale_name(variables: Mapping[str, str]) -> str:
    """Return which locale programs get here (locale(7): the first of three variables that is set)."""
    return next((variables[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if variables.get(name)), "C")
