"""Who runs a script in a container, where the supervisor is root: whom its image or its configuration names."""

from __future__ import annotations

import grp
import os
import pwd

from . import prctl

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Iterable, List

ROOT = 0


class NoSuchUserError(Exception):
    """The image knows no such user or group; the message names it."""


class Identity:
    """A user with its groups."""

    def __init__(self, uid: int, gid: int, groups: List[int], home: str) -> None:
        self.uid, self.gid, self.groups, self.home = uid, gid, groups, home

    def assume(self) -> None:
        """Become this user, for good. In a forked child; the parent's death still ends it."""
        parent = os.getppid()
        os.setgroups(self.groups)
        os.setgid(self.gid)
        os.setuid(self.uid)
        prctl.die_with(parent)  # the kernel forgets it when the user changes

    def own(self, paths: Iterable[str]) -> None:
        """Give files, and folders with everything in them, to this user. Links are given, not followed."""
        for path in paths:
            os.lchown(path, self.uid, self.gid)
            if os.path.islink(path):
                continue
            for folder, folders, files in os.walk(path):
                for name in folders + files:
                    os.lchown(os.path.join(folder, name), self.uid, self.gid)


def find(user: str, more_groups: Iterable[str] = ()) -> Identity:
    """Return who ``user`` is, as ``USER`` of a Dockerfile names one: ``name``, ``uid``, either with ``:group``.

    A number need not be known here. Raises :class:`NoSuchUserError`.
    """
    name, _, group = user.partition(":")
    home = "/"
    try:
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        if not name.isdigit():
            raise NoSuchUserError("The image has no user %r." % name) from None
        uid, gid, groups = int(name), ROOT, []
    else:
        uid, gid, home = entry.pw_uid, entry.pw_gid, entry.pw_dir
        groups = [found.gr_gid for found in grp.getgrall() if entry.pw_name in found.gr_mem]
    if group:
        gid, groups = _group(group), []
    return Identity(uid, gid, sorted({gid, *groups, *map(_group, more_groups)}), home)


def _group(name: str) -> int:
    if name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise NoSuchUserError("The image has no group %r." % name) from None
