"""The walk through a source directory: what is as it was is taken over unread, the rest is listed for hashing."""

from __future__ import annotations

import errno
import os
import stat as modes
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import SnapshotError
from . import ignore
from .folder import (
    FILE,
    FOLDER,
    IMPOSSIBLE_STAT,
    LEFT_OUT,
    LEFT_OUT_FOLDER,
    LEFT_OUT_RULES,
    LINK,
    STAT,
    Recollection,
    Sight,
    Stat,
    looks_the_same,
)
from .naming import shown

if TYPE_CHECKING:
    from ..supervisor.protocol.manifest import Entry
    from .cache import Memory

_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Not blocked by a FIFO that took the place of a file.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SPECIAL = {modes.S_IFSOCK: "a socket", modes.S_IFIFO: "a FIFO", modes.S_IFCHR: "a device", modes.S_IFBLK: "a device"}


class TreeMovedError(Exception):
    """A name was there and then was not: the walk has to begin again. The argument is its path."""


@dataclass(slots=True)
class Seen:
    """A watched name of a folder that has to be described anew."""

    path: str
    raw: bytes  #: the path as the system has it
    kind: int
    stat: Stat  #: ``IMPOSSIBLE_STAT``: not looked at yet
    content: bytes | None  #: sha256 in hexadecimal, or a link's target; ``None``: to be hashed
    before: Entry | None = None  #: what the last manifest had at this path


@dataclass
class Study:
    """A folder that does not look as it did, or was never seen."""

    path: str
    names: str
    kinds: bytearray = field(default_factory=bytearray)
    seen: list[Seen] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    left_out: int = 0
    empty: bool = False


@dataclass
class Survey:
    """One walk. After ``run``, ``same`` names the folders that look as they did, and ``studies`` are the others."""

    root: int  #: descriptor of the source directory
    memory: Memory  #: of the last walk
    rules: ignore.IgnoreRules | None  #: what replaces every ``.gitignore``, if anything does
    rules_changed: bool  #: whether the last walk went by other rules
    sizes: bool  #: whether the size of every file must be known before one of them is read
    never: bytes | None  #: a path that never travels: the cache, where it lies in the source directory
    everything: bool = False  #: data is data: neither an ignore file nor a name leaves anything out
    same: list[str] = field(default_factory=list)
    studies: list[Study] = field(default_factory=list)
    _rules: dict[str, ignore.IgnoreRules] = field(default_factory=dict)

    def run(self) -> None:
        """Walk. Raises ``SnapshotError`` for what cannot travel, ``TreeMovedError`` when a name vanishes meanwhile."""
        sights = self.memory.sights
        todo = [("", self.rules_changed)]
        while todo:
            path, rules_changed = todo.pop()
            folder = self._enter(path)
            try:
                with os.scandir(folder) as listing:
                    entries = list(listing)
                names = "/".join([entry.name for entry in entries])
                sight = sights.get(path)
                below: tuple[str, ...] | list[str]
                if sight and sight[0] == names and not rules_changed and looks_the_same(entries, sight[1], sight[2]):
                    self.same.append(path)
                    below = sight[3]
                else:
                    study, rules_changed = self._study(path, folder, entries, names, rules_changed)
                    self.studies.append(study)
                    below = study.folders
            except FileNotFoundError as error:
                raise TreeMovedError(path) from error
            except OSError as error:
                raise unreadable(path, error) from error
            finally:
                os.close(folder)
            todo.extend([(child, rules_changed) for child in below])

    def _enter(self, path: str) -> int:
        try:
            return os.open(path or ".", _ENTER, dir_fd=self.root)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # it was a folder when it was listed
                raise TreeMovedError(path) from error
            raise unreadable(path, error) from error

    def _study(
        self, path: str, folder: int, entries: list[os.DirEntry[str]], names: str, rules_changed: bool
    ) -> tuple[Study, bool]:
        """Describe a folder; also return whether the rules for what is below it are others than the last time."""
        study = Study(path, names, empty=not entries)
        if path and not self.everything and _is_environment(entries):
            study.left_out = 1
            return study, rules_changed
        past = self._recollect(path)
        if not rules_changed and self.rules is None:
            rules_changed = not past.has_stat(ignore.GITIGNORE, _stat_of_rules(entries))
        if rules_changed:
            past.forget_verdicts()
        prefix, raw_prefix = (f"{path}/", os.fsencode(path) + b"/") if path else ("", b"")
        for entry, raw in zip(entries, os.fsencode(names).split(b"/"), strict=False):
            name = entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            left_out = past.left_out(name, is_folder)
            if left_out is None:
                left_out = self._leave_out(path, name, raw, raw_prefix, is_folder)
            if left_out:
                study.left_out += 1
                study.kinds.append(_left_out_kind(name, is_folder))
                if study.kinds[-1] == LEFT_OUT_RULES:
                    study.seen.append(Seen(prefix + name, raw_prefix + raw, LEFT_OUT_RULES, _stat(entry), b""))
            elif is_folder:
                study.kinds.append(FOLDER)
                study.folders.append(prefix + name)
            else:
                if past.is_empty and not self.sizes and entry.is_file(follow_symlinks=False):
                    # Whoever reads it will look at it then, by its descriptor, which costs less.
                    seen = Seen(prefix + name, raw_prefix + raw, FILE, IMPOSSIBLE_STAT, None)
                else:
                    seen = _look(entry, prefix + name, raw_prefix + raw, folder, past)
                study.kinds.append(seen.kind)
                study.seen.append(seen)
        return study, rules_changed

    def _recollect(self, path: str) -> Recollection:
        sight = self.memory.sights.get(path)
        return Recollection(Sight._make(sight), self.memory.shares[path][0]) if sight else Recollection()

    def _leave_out(self, folder: str, name: str, raw: bytes, raw_prefix: bytes, is_folder: bool) -> bool:
        if self.never is not None and raw_prefix + raw == self.never:
            return True
        if self.everything:
            return False
        if name in ignore.ALWAYS_LEFT_OUT or (is_folder and name in ignore.FOLDERS_LEFT_OUT):
            return True
        if not folder and name in ignore.LEFT_OUT_AT_ROOT:
            return True
        rules = self._rules_in(folder) if self.rules is None else self.rules
        return bool(rules.files) and rules.leave_out(raw, raw_prefix + raw, is_folder)

    def _rules_in(self, folder: str) -> ignore.IgnoreRules:
        """Return the rules that the ``.gitignore`` files from the root down to ``folder`` make."""
        known = self._rules.get(folder)
        if known is not None:
            return known
        todo = [folder]
        while todo[-1] and todo[-1] not in self._rules:
            todo.append(todo[-1].rpartition("/")[0])
        rules = self._rules.get(todo[-1], ignore.NO_RULES)
        for path in reversed(todo):
            if path not in self._rules:
                content = self._read_rules(f"{path}/{ignore.GITIGNORE}" if path else ignore.GITIGNORE)
                self._rules[path] = rules.below(os.fsencode(path), content) if content else rules
            rules = self._rules[path]
        return rules

    def _read_rules(self, path: str) -> bytes:
        try:
            descriptor = os.open(path, READ, dir_fd=self.root)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):  # Git does not follow a link here either
                return b""
            raise unreadable(path, error) from error
        return read_file(descriptor) or b""


def read_file(descriptor: int) -> bytes | None:
    """Return all that an open file holds, and close it; ``None`` when it is no regular file."""
    try:
        if not modes.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def unreadable(path: str, error: OSError) -> SnapshotError:
    """Return the error for a path that the system does not let us read."""
    return SnapshotError(
        f"Cannot read {shown(path) if path else 'the source directory'}",
        why=f"The system says: {os.strerror(error.errno or 0)}",
        advice="Let the user that submits read it, or name it in .amlignore or .gitignore.",
    )


def _look(entry: os.DirEntry[str], path: str, raw: bytes, folder: int, past: Recollection) -> Seen:
    stat: Stat = STAT(entry.stat(follow_symlinks=False))
    before = past.entry(raw)
    kind = modes.S_IFMT(stat[0])
    if kind == modes.S_IFREG:
        known = before is not None and past.has_stat(entry.name, stat)
        return Seen(path, raw, FILE, stat, before.content if before and known else None, before)
    if kind == modes.S_IFLNK:
        return Seen(path, raw, LINK, stat, os.fsencode(os.readlink(entry.name, dir_fd=folder)), before)
    raise SnapshotError(
        f"{shown(path)} is {_SPECIAL.get(kind, 'not a file, folder or link')} and cannot be part of a snapshot",
        advice="Remove it, or name it in .amlignore or .gitignore.",
    )


def _stat(entry: os.DirEntry[str]) -> Stat:
    stat: Stat = STAT(entry.stat(follow_symlinks=False))
    return stat


def _stat_of_rules(entries: list[os.DirEntry[str]]) -> Stat | None:
    for entry in entries:
        if entry.name == ignore.GITIGNORE and not entry.is_dir(follow_symlinks=False):
            return _stat(entry)
    return None


def _left_out_kind(name: str, is_folder: bool) -> int:
    if is_folder:
        return LEFT_OUT_FOLDER
    return LEFT_OUT_RULES if name == ignore.GITIGNORE else LEFT_OUT


def _is_environment(entries: list[os.DirEntry[str]]) -> bool:
    for entry in entries:
        if entry.name == ignore.ENVIRONMENT_FILE and not entry.is_dir(follow_symlinks=False):
            return True
        if entry.name == ignore.ENVIRONMENT_FOLDER and entry.is_dir(follow_symlinks=False):
            return True
    return False
