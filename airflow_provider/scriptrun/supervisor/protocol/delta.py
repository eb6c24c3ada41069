"""A manifest as a change of another one: what is sent where the other side has most of it.

``scriptrun-delta-1\\n``, then for each change in the order of the manifest ``<keep>,<drop>,<length>:<bytes>``: so many
bytes of the base are taken over, so many left out, and these put in. What is left of the base stands behind the last
one. Whoever rebuilds a manifest verifies it by its id; a delta is checked for what could cost memory or read elsewhere.
"""

import re
from typing import List

from .manifest import MAX_MANIFEST_BYTES, split

HEADER = b"scriptrun-delta-1\n"
_CHANGE = re.compile(rb"(0|[1-9][0-9]{0,8}),(0|[1-9][0-9]{0,8}),(0|[1-9][0-9]{0,8}):")


class DeltaError(ValueError):
    """These bytes are no delta, or none of this base."""


def encode(base: bytes, manifest: bytes) -> bytes:
    """Return what turns the manifest ``base`` into ``manifest``: one text for each pair.

    Raises ``ManifestError`` when one of them is none.
    """
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
