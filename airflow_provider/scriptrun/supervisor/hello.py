"""What this target is: the answer that a worker plans with."""

from __future__ import annotations

import os
import sys

from . import host
from .protocol import PROTOCOL_VERSION

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

    from .layout import Layout
    from .serve import Channel

TOOLS = ("uv", "conda", "micromamba", "mamba", "docker")
#: Where tools are found beside PATH, which is short in a session without a login shell.
_EXTRA_FOLDERS = ("~/.local/bin", "~/.cargo/bin", "~/miniconda3/bin", "~/miniforge3/bin", "/opt/conda/bin", "~/bin")
#: The package's name where it was unpacked on a target; anything else is a checkout.
_INSTALLED_NAME = "scriptrun_supervisor"


def version() -> str:
    """Return the version of this supervisor: the name of the folder that holds it, ``development`` in a checkout."""
    folder = os.path.dirname(os.path.abspath(__file__))
    if os.path.basename(folder) == _INSTALLED_NAME:
        return os.path.basename(os.path.dirname(folder))
    return "development"


def hello(request: Dict[str, Any], channel: Channel) -> None:  # noqa: ARG001  # every handler is called alike
    """Answer the ``hello`` request."""
    channel.writer.json(facts(channel.layout))


def facts(layout: Layout) -> Dict[str, Any]:
    """Return what can be said of this target within a millisecond."""
    space = os.statvfs(layout.root)
    return {
        "version": version(),
        "protocol": PROTOCOL_VERSION,
        "python": {
            "executable": sys.executable,
            "version": "%d.%d.%d" % sys.version_info[:3],
            "implementation": sys.implementation.name,
        },
        "platform": platform(),
        "host": host.facts(layout),
        "root": layout.root,
        "user": user(),
        "tools": {name: which(name) for name in TOOLS},
        "free_bytes": space.f_bavail * space.f_frsize,
    }


def platform() -> Dict[str, Optional[str]]:
    """Return system, machine and C library of this host."""
    names = os.uname()
    return {"system": names.sysname, "machine": names.machine, "libc": _libc()}


def which(name: str) -> Optional[str]:
    """Return the absolute path of a program; ``None`` when there is none. (``shutil`` would take longer to import.)"""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for folder in (*folders, *map(os.path.expanduser, _EXTRA_FOLDERS)):
        path = os.path.join(folder, name)
        if folder.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def _libc() -> Optional[str]:
    """Return for instance ``glibc 2.36`` or ``musl``; ``None`` when unknown."""
    try:
        found = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):
        found = None
    if found:
        return found
    try:
        return "musl" if any(name.startswith("ld-musl") for name in os.listdir("/lib")) else None
    except OSError:
        return None


def user() -> str:
    """Return the name of the user that we are; the number where it has no name."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
