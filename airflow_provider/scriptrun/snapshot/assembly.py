"""From what was seen of each folder to the manifest."""

from __future__ import annotations

import heapq
import os
from stat import S_IXUSR
from typing import TYPE_CHECKING

from ..supervisor.protocol import manifest
from .folder import FILE, IMPOSSIBLE_STAT, LINK, Share, Sight, pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .folder import Stat
    from .survey import Seen, Study

#: How many of the largest files are remembered, and named in a message.
LARGEST = 5
_TRAVELS = frozenset({FILE, LINK})
#: Kernels stamp files with a clock that ticks every 1 to 10 ms: two writes within a tick have one time.
_TICK_NS = 50_000_000
#: The same where a file system keeps whole seconds only, or two of them.
_COARSE_TICK_NS = 2_000_000_000


def is_racy(stat: Stat, started_ns: int) -> bool:
    """Whether a file may have changed after it was read without its stat telling.

    Git's rule: its times are not older than the walk that read it (Documentation/technical/racy-git.txt). The walk's
    time is this machine's: a file server's clock that is behind it makes the rule blind by as much.
    """
    newest = max(stat[3], stat[4])
    tick = _TICK_NS if newest % 1_000_000_000 else _COARSE_TICK_NS
    return newest > started_ns - tick


def described(seen: Seen) -> tuple[bytes, str, int, bytes]:
    """Return the manifest's entry of a file or a link: path, type, size, content."""
    if seen.kind == FILE:
        kind = manifest.EXECUTABLE if seen.stat[0] & S_IXUSR else manifest.FILE
        return seen.raw, kind, seen.stat[2], seen.content or b""
    return seen.raw, manifest.LINK, 0, seen.content or b""


def describe(study: Study, started_ns: int) -> tuple[Sight, Share]:
    """Return what is kept of a folder whose files are hashed."""
    stats = [IMPOSSIBLE_STAT if is_racy(seen.stat, started_ns) else seen.stat for seen in study.seen]
    sight = Sight(study.names, bytes(study.kinds), pack(stats), tuple(study.folders))
    parts = [(seen.raw, manifest.encode_entry(*described(seen))) for seen in study.seen if seen.kind in _TRAVELS]
    sizes = [(seen.stat[2], seen.path) for seen in study.seen if seen.kind == FILE]
    empty = b""
    if study.empty and study.path:
        empty = manifest.encode_entry(os.fsencode(study.path), manifest.DIRECTORY, 0, b"")
    return sight, Share(
        *_arrange(parts, study.folders),
        files=len(sizes),
        total=sum([size for size, _ in sizes]),
        left_out=study.left_out,
        largest=largest(sizes),
        empty=empty,
    )


def _arrange(parts: list[tuple[bytes, bytes]], folders: Iterable[str]) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """Return the fragments and slots that encoded entries and the folders among them make."""
    places: dict[bytes, str] = {}
    for folder in folders:
        path = os.fsencode(folder)
        places[path], places[path + b"/"] = folder, folder + "/"
    fragments: list[list[bytes]] = [[]]
    slots: list[str] = []
    for path, encoded in sorted([*parts, *((place, b"") for place in places)]):
        if encoded:
            fragments[-1].append(encoded)
        else:
            slots.append(places[path])
            fragments.append([])
    return tuple([b"".join(fragment) for fragment in fragments]), tuple(slots)


def largest(sizes: Iterable[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    """Return the largest of (size, path), largest first."""
    return tuple(heapq.nlargest(LARGEST, sizes))


def assemble(shares: Mapping[str, Share]) -> bytes:
    """Return the manifest."""
    return manifest.HEADER + b"".join(_in_order(shares))


def _in_order(shares: Mapping[str, Share]) -> Iterator[bytes]:
    stack = [_parts(shares[""])]
    while stack:
        for part in stack[-1]:
            if isinstance(part, bytes):
                yield part
            elif part.endswith("/"):
                stack.append(_parts(shares[part[:-1]]))
                break
            else:
                yield shares[part].empty
        else:
            stack.pop()


def _parts(share: Share) -> Iterator[bytes | str]:
    for fragment, slot in zip(share.fragments, share.slots, strict=False):
        yield fragment
        yield slot
    yield share.fragments[-1]
