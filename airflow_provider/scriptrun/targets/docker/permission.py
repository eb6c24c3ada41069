"""A socket of this machine that this user may not use: whose it is, and what lets the user in."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

from airflow_provider.scriptrun.errors import TargetRefusedError


def refusal(path: str) -> TargetRefusedError:
    """Return the error that names socket, user and group, and says what to do."""
    user = _user(os.geteuid())
    what = f"The user {user} may not use the Docker engine's socket {path}"
    try:
        found = Path(path).stat()
    except OSError:
        return TargetRefusedError(
            what,
            why=f"The folder {Path(path).parent}, or one above it, is closed to this user",
            advice="Open it to this user.",
        )
    mode, group = stat.S_IMODE(found.st_mode), _group(found.st_gid)
    why = f"It belongs to the user {_user(found.st_uid)} and the group {group}, with mode {mode:04o}"
    if found.st_gid == 0 or not mode & stat.S_IWGRP:
        advice = "Give it a group of its own (dockerd's --group), that may write to it, and add the user to that group"
    else:
        advice = f"Add the user to the group {group}; where the worker is a container, start it with --group-add "
        advice += str(found.st_gid)
    return TargetRefusedError(what, why=why, advice=f"{advice}. Then start the worker anew: it keeps its old groups.")


def _user(number: int) -> str:
    with suppress(KeyError):
        return f"{pwd.getpwuid(number).pw_name} ({number})"
    return str(number)


def _group(number: int) -> str:
    with suppress(KeyError):
        return f"{grp.getgrgid(number).gr_name} ({number})"
    return str(number)
