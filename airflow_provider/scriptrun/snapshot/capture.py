"""Taking a snapshot of a source directory."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import time
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SnapshotChangedError, SnapshotError
from ..supervisor.protocol.manifest import HEADER, decode, snapshot_id
from ..supervisor.protocol.manifest import LINK as LINK_ENTRY
from . import ignore
from .assembly import assemble, describe, described, largest
from .cache import Memory, StatCache, Summary
from .folder import FILE, LINK, Sight
from .hashing import hash_all
from .limits import Limits
from .links import escapes
from .naming import shown
from .snapshot import Snapshot
from .survey import Survey, TreeMovedError, read_file, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .folder import Share
    from .survey import Seen

_log = logging.getLogger(__name__)

#: How often the walk begins again when names vanish under it, before the directory is refused as one that changes.
_WALKS = 3


def take(
    source_directory: Path,
    *,
    cache_directory: Path,
    limits: Limits = Limits(),  # noqa: B008  (a frozen value)
    progress: Callable[[int, int], None] | None = None,
    everything: bool = False,
) -> Snapshot:
    """Take a snapshot of what ``source_directory`` holds now.

    :param cache_directory: a folder of ours (made when missing) where the stat cache of each source directory is kept.
    :param limits: when to warn and when to refuse.
    :param progress: called with (files hashed, bytes hashed) while there is hashing to do: after every file, and every
        megabyte of a large one.
    :param everything: it is data, of which nothing is left out (but ``cache_directory``, should it lie in there).

    Otherwise left out are what ``.amlignore`` at the root, or else the ``.gitignore`` files of the source directory
    say, and always ``.git``, ``__pycache__``, virtual environments, and ``outputs`` and ``logs`` at the root. A folder
    that is empty travels; one that holds nothing but what is left out does not.

    Raises ``SnapshotError`` naming the file: a missing directory, a link that escapes, a socket, FIFO or device, what
    cannot be read; ``SnapshotChangedError`` for what goes on changing while it is read; ``SnapshotTooLargeError`` over
    the hard limit.
    """
    root = Path(os.path.abspath(source_directory))  # noqa: PTH100  (links in it are kept: messages name it as it was given)
    descriptor = _open_root(root, "data" if everything else "source directory")
    try:
        real = os.fsencode(os.path.realpath(root))
        never = _inside(real, os.fsencode(os.path.realpath(cache_directory)))
        cache = StatCache(cache_directory, b"%b\0%b%b" % (real, never, b"\0data" if everything else b""))
        return _Capture(root, descriptor, cache, limits, progress, never or None, everything).take()
    finally:
        os.close(descriptor)


class _Capture:
    """One call of ``take``."""

    def __init__(
        self,
        root: Path,
        descriptor: int,
        cache: StatCache,
        limits: Limits,
        progress: Callable[[int, int], None] | None,
        never: bytes | None,
        everything: bool,
    ) -> None:
        self._root, self._descriptor, self._cache = root, descriptor, cache
        self._limits, self._progress, self._never = limits, progress, never
        self._everything = everything
        self._place = "data" if everything else "source directory"

    def take(self) -> Snapshot:
        memory = self._cache.load()
        for walk in range(_WALKS):
            started_ns = time.time_ns()
            content = b"" if self._everything else _read_amlignore(self._descriptor)
            rules_id = hashlib.sha256(content).hexdigest() if content is not None else ""
            survey = Survey(
                self._descriptor,
                memory,
                ignore.NO_RULES.below(b"", content) if content is not None else None,
                # A walk that was given up may have seen a changed ignore file, and not yet all that it speaks of.
                walk > 0 or (memory.summary is not None and memory.summary.rules != rules_id),
                self._limits.max_bytes > 0,
                self._never,
                self._everything,
            )
            try:
                survey.run()
                if not survey.studies and memory.summary is not None:
                    return self._unchanged(memory, memory.summary)
                return self._changed(survey, memory, rules_id, started_ns)
            except TreeMovedError as error:
                moved = str(error)
                memory = _with_what_is_hashed(memory, survey, started_ns)
        raise SnapshotChangedError(
            f"{shown(moved) or f'The {self._place}'} came and went while {shown(str(self._root))} was read, "
            f"{_WALKS} times",
            advice="Submit when nothing changes the directory, or name what changes in .amlignore or .gitignore.",
        )

    def _unchanged(self, memory: Memory, summary: Summary) -> Snapshot:
        self._limits.refuse(summary.bytes, lambda: summary.largest)
        return self._snapshot(summary, lambda: memory.shares, [])

    def _changed(self, survey: Survey, memory: Memory, rules_id: str, started_ns: int) -> Snapshot:
        seen = [one for study in survey.studies for one in study.seen]
        kept = {path: memory.shares[path] for path in survey.same}
        _refuse_escaping_links(seen, survey, kept, self._place)
        files = [one for one in seen if one.kind == FILE]
        total = sum([one.stat[2] for one in files]) + sum([share.total for share in kept.values()])
        self._limits.refuse(total, lambda: largest(chain(_sizes(files), _largest_of(kept))))
        hash_all(self._descriptor, [one for one in files if one.content is None], self._progress)

        sights: dict[str, Sight] = {path: Sight._make(memory.sights[path]) for path in survey.same}
        shares: dict[str, Share] = kept
        for study in survey.studies:
            sights[study.path], shares[study.path] = describe(study, started_ns)
        summary = Summary(
            snapshot_id(assemble(shares)),
            rules_id,
            sum(share.files for share in shares.values()),
            sum(share.total for share in shares.values()),
            sum(share.left_out for share in shares.values()),
            largest(_largest_of(shares)),
        )
        self._limits.refuse(summary.bytes, lambda: summary.largest)
        self._cache.save(summary, sights, shares)
        changed = [one for one in files if one.before is None or described(one) != one.before]
        return self._snapshot(summary, lambda: shares, changed)

    def _snapshot(self, summary: Summary, shares: Callable[[], Mapping[str, Share]], changed: list[Seen]) -> Snapshot:
        return Snapshot(
            id=summary.id,
            root=self._root,
            files=summary.files,
            bytes=summary.bytes,
            changed=len(changed),
            ignored=summary.left_out,
            warnings=self._limits.warnings(
                summary.bytes, summary.largest, len(changed), lambda: largest(_sizes(changed))
            ),
            shares=shares,
            fresh=lambda: {(one.content or b"").decode("ascii"): (one.path, one.stat[2]) for one in changed},
        )


def _sizes(files: Iterable[Seen]) -> Iterator[tuple[int, str]]:
    return ((one.stat[2], one.path) for one in files)


def _largest_of(shares: Mapping[str, Share]) -> Iterator[tuple[int, str]]:
    return (big for share in shares.values() for big in share.largest)


def _open_root(root: Path, place: str) -> int:
    try:
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        why = {
            errno.ENOENT: "There is nothing at this path.",
            errno.ENOTDIR: "It is a file.",
            errno.EACCES: "The user that submits may not read it.",
        }.get(error.errno or 0, f"The system says: {error.strerror}")
        raise SnapshotError(
            f"The {place} {shown(str(root))} cannot be read",
            why=why,
            advice="Give source_directory the folder that holds the script; a relative one starts at the DAG file's "
            "folder in a task, and at the working directory in plain Python.",
        ) from error


def _inside(root: bytes, cache: bytes) -> bytes:
    """Return the path of the cache from the root when it lies in there, else nothing."""
    if cache == root:
        raise SnapshotError(
            f"The source directory {shown(root)} is also the cache directory",
            advice="Set cache_directory in the section [scriptrun] of Airflow's configuration to another folder.",
        )
    prefix = root.rstrip(b"/") + b"/"
    return cache[len(prefix) :] if cache.startswith(prefix) else b""


def _read_amlignore(root: int) -> bytes | None:
    """Return the patterns that replace every ``.gitignore``. Other than there, a link is followed, as Azure ML does."""
    try:
        content = read_file(os.open(ignore.AMLIGNORE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=root))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(ignore.AMLIGNORE, error) from error
    if content is None:
        raise SnapshotError(f"{ignore.AMLIGNORE} is no file", advice="Make it a file with a pattern on each line.")
    return content


def _refuse_escaping_links(seen: list[Seen], survey: Survey, kept: Mapping[str, Share], place: str) -> None:
    targets = {one.raw: one.content or b"" for one in seen if one.kind == LINK}
    for path in survey.same:
        if LINK in survey.memory.sights[path][1]:
            entries = decode(HEADER + b"".join(kept[path].fragments))
            targets.update((entry.path, entry.content) for entry in entries if entry.type == LINK_ENTRY)
    for link, target in targets.items():
        if escapes(link, targets):
            raise SnapshotError(
                f"The symbolic link {shown(link)} leads to {shown(target)}, outside the {place}",
                why="What it points to would not be there where the script runs",
                advice="Copy the target into the source directory, make the link a relative one to a place inside, "
                "pass the data as an input, or name the link in .amlignore or .gitignore.",
            )


def _with_what_is_hashed(memory: Memory, survey: Survey, started_ns: int) -> Memory:
    """Return the memory together with what a walk that has to begin again had already found."""
    sights, shares = dict(memory.sights), dict(memory.shares)
    for study in survey.studies:
        if all(one.content is not None for one in study.seen):
            sights[study.path], shares[study.path] = describe(study, started_ns)
    return Memory(memory.summary, sights, shares)
