"""Whether a log-out takes our processes with it: ``KillUserProcesses=`` of systemd-logind (logind.conf(5)).

It ends what is left in the *session's* control group, whether the user lingers or not: lingering keeps the user's own
service manager alive, and what runs under it.
"""

from __future__ import annotations

import os

from .machine import read

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List

_NAME = "logind.conf"
#: The main file: the first of these that is there (systemd since version 249 looks into all of them).
_FOLDERS = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")
_CGROUP = "/proc/self/cgroup"
_LINGER = "/var/lib/systemd/linger"
_TRUE = ("1", "yes", "y", "true", "t", "on")


def facts() -> Dict[str, Any]:
    """Return ``{"in_session", "kills", "lingers"}``: of this process, of what logind is configured to do with it."""
    from ..hello import user

    name = user()
    settings = logind_settings(texts(_FOLDERS))
    return {
        "in_session": is_in_session(read(_CGROUP)),
        "kills": kills(settings, name),
        "lingers": os.path.exists(os.path.join(_LINGER, name)),
    }


def texts(folders: Iterable[str]) -> List[str]:
    """Return the texts of the configuration, in the order in which each overrides those before it."""
    main = [text for text in (read(os.path.join(folder, _NAME)) for folder in folders) if text][:1]
    parts: Dict[str, str] = {}
    for folder in reversed(list(folders)):  # a part in /etc hides one of the same name in /usr
        place = os.path.join(folder, _NAME + ".d")
        try:
            names = os.listdir(place)
        except OSError:
            continue
        parts.update({name: os.path.join(place, name) for name in names if name.endswith(".conf")})
    return main + [read(parts[name]) for name in sorted(parts)]


def logind_settings(texts: Iterable[str]) -> Dict[str, str]:
    """Return the options of the section ``[Login]``; what comes later wins.

    The file that systemd installs holds, as a comment, each option with the default that it was built with: for
    ``KillUserProcesses`` that differs between distributions.
    """
    settings: Dict[str, str] = {}
    for text in texts:
        section = ""
        for line in map(str.strip, text.splitlines()):
            name, separator, value = line.partition("=")
            if line.startswith("["):
                section = line
            elif section != "[Login]" or not separator:
                continue
            elif name == "#KillUserProcesses":
                settings.setdefault("KillUserProcesses", value.strip())
            elif not line.startswith(("#", ";")):
                settings[name.strip()] = value.strip()
    return settings


def kills(settings: Dict[str, str], user: str) -> bool:
    """Whether logind ends what is left of a session of ``user``. Where nothing says so, it does not."""
    if user in settings.get("KillExcludeUsers", "root").split():
        return False
    only = settings.get("KillOnlyUsers", "").split()
    return settings.get("KillUserProcesses", "").lower() in _TRUE and (not only or user in only)


def is_in_session(cgroup: str) -> bool:
    """Whether the text of /proc/self/cgroup (cgroups(7)) says that this process belongs to a login session."""
    return any(
        part.startswith("session-") and part.endswith(".scope")
        for line in cgroup.splitlines()
        for part in line.partition(":")[2].partition(":")[2].split("/")
    )
