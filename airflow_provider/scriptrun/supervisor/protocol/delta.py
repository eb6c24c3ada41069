"""A manifest as a change of another one: what is sent where the other side has most of it.

``scriptrun-delta-1\\n``, then for each change in the order of the manifest ``<keep>,<drop>,<length>:<bytes>``: so many
bytes of the base are taken over, so many left out, and these put in. What is left of the base stands behind the last
one. Whoever rebuilds a manifest verifies it by its id; a delta is checked for what could cost memory or read elsewhere.
"""

import re
from typing import Callable, List, Tuple

from .manifest import MAX_MANIFEST_BYTES, split

HEADER = b"scriptrun-delta-1\n"
#: So much is put in as it stands, rather than looked through for what of it the base has.
SMALL_BYTES = 16 * 1024
_CHANGE = re.compile(rb"(0|[1-9][0-9]{0,8}),(0|[1-9][0-9]{0,8}),(0|[1-9][0-9]{0,8}):")


class DeltaError(ValueError):
    """These bytes are no delta, or none of this base."""


def encode(base: bytes, manifest: bytes, small_bytes: int = SMALL_BYTES) -> bytes:
    """Return what turns the manifest ``base`` into ``manifest``: one text for each pair.

    :param small_bytes: so much of a change is told as one, whatever of it the base has.

    Raises ``ManifestError`` when one of them is none.
    """
    begin, end = _common(base, manifest)
    put_in = manifest[begin : len(manifest) - end]
    if len(put_in) <= small_bytes:  # changes that stand together: nothing need be told apart
        drop = len(base) - begin - end
        return HEADER + (_change(begin, drop, [put_in]) if drop or put_in else b"")
    old, new = split(base), split(manifest)
    gone, come = set(old).difference(new), set(new).difference(old)
    parts = [HEADER]
    keep = drop = 0
    added: List[bytes] = []
    ahead = iter(new)
    for entry in old:
        if entry in gone:
            drop += len(entry)
            continue
        for other in ahead:  # what is in both stands in both in the same order
            if other == entry:
                break
            added.append(other)
        if drop or added:
            parts.append(_change(keep, drop, added))
            keep = drop = 0
            added = []
        keep += len(entry)
    added += [entry for entry in ahead if entry in come]
    if drop or added:
        parts.append(_change(keep, drop, added))
    return b"".join(parts)


def _common(one: bytes, other: bytes) -> Tuple[int, int]:
    """Return how many bytes both begin with, and how many of the rest both end with. Compares a few long pieces."""
    shorter = min(len(one), len(other))
    begin = _longest(shorter, lambda count: one.startswith(other[:count]))
    end = _longest(shorter - begin, lambda count: not count or one.endswith(other[-count:]))
    return begin, end


def _longest(limit: int, holds: Callable[[int], bool]) -> int:
    """Return the largest number up to ``limit`` that ``holds``: every smaller one does, too."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _change(keep: int, drop: int, added: List[bytes]) -> bytes:
    data = b"".join(added)
    return b"%d,%d,%d:%b" % (keep, drop, len(data), data)


def apply(base: bytes, delta: bytes) -> bytes:
    """Return the manifest that ``delta`` makes of ``base``; only its sha256 tells whether it is the one that was meant.

    Raises ``DeltaError``.
    """
    if not delta.startswith(HEADER):
        raise DeltaError("this is no delta of version 1")
    parts: List[bytes] = []
    taken, position = 0, len(HEADER)
    while position < len(delta):
        change = _CHANGE.match(delta, position)
        if change is None:
            raise DeltaError("damaged at byte %d" % position)
        keep, drop, length = map(int, change.groups())
        position = change.end() + length
        if position > len(delta) or taken + keep + drop > len(base):
            raise DeltaError("the change before byte %d leads outside" % position)
        if not drop and not length:
            raise DeltaError("the change before byte %d changes nothing" % position)
        parts += (base[taken : taken + keep], delta[change.end() : position])
        taken += keep + drop
    parts.append(base[taken:])
    if sum(map(len, parts)) > MAX_MANIFEST_BYTES:
        raise DeltaError("what it makes is longer than the %d bytes allowed" % MAX_MANIFEST_BYTES)
    return b"".join(parts)
