"""Where symbolic links lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Linux follows no more links than this in one path; a chain that is longer leads nowhere (path_resolution(7)).
_MAX_LINKS = 40


def escapes(link: bytes, targets: Mapping[bytes, bytes]) -> bool:
    """Whether following ``link`` leaves the tree, through other links of it too.

    :param targets: every link of the tree, path to target. Links that lead nowhere, or in a circle, stay inside.
    """
    here = link.split(b"/")[:-1]
    rest = targets[link].split(b"/")[::-1]
    if targets[link].startswith(b"/"):
        return True
    followed = 1
    while rest:
        part = rest.pop()
        if part in (b"", b"."):
            continue
        if part == b"..":
            if not here:
                return True
            here.pop()
            continue
        target = targets.get(b"/".join([*here, part]))
        if target is None:
            here.append(part)
            continue
        followed += 1
        if target.startswith(b"/"):
            return True
        if followed > _MAX_LINKS:
            return False
        rest.extend(target.split(b"/")[::-1])
    return False
