"""Whether a program that runs on one host runs on another: both sides ask, before it travels."""

from __future__ import annotations

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Mapping, Optional, Tuple

#: What a platform is told by. ``libc`` is for instance ``glibc 2.36``, ``musl 1.2`` or ``musl``; of a program, the
#: oldest that will do, and none at all (null) for one that needs none.
FIELDS = ("system", "machine", "libc")


def agrees(needs: Mapping[str, Optional[str]], there: Mapping[str, Optional[str]]) -> bool:
    """Whether a program that ``needs`` this platform runs on the one that is ``there``. In doubt it does not."""
    if not needs.get("system") or not needs.get("machine"):
        return False
    if (needs["system"], needs["machine"]) != (there.get("system"), there.get("machine")):
        return False
    wanted = needs.get("libc")
    if wanted is None:
        return True
    family, oldest = _parsed(wanted)
    found, version = _parsed(there.get("libc") or "")
    # musl does not say which it is, and has kept its promises since 1.1.
    return bool(family) and family == found and (version >= oldest if version or family != "musl" else True)


def _parsed(libc: str) -> Tuple[str, Tuple[int, ...]]:
    family, _, version = libc.partition(" ")
    numbers = []
    for part in version.split("."):
        if not (part.isascii() and part.isdigit()):
            break
        numbers.append(int(part))
    return family, tuple(numbers)
