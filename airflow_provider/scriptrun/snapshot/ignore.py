"""Which paths of a source directory are left out, with Git's own semantics for nested ignore files.

A folder that is left out is never entered, so nothing below it can be had back with ``!``. Otherwise the deepest ignore
file that has a matching pattern decides, by its last one. Only files inside the source directory count, not the ignore
files of the folders above it, ``.git/info/exclude`` or ``core.excludesFile``: the same tree must have the same id on
any machine. For the same reason it does not matter whether Git tracks a file, and letters are never folded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from .pattern import Pattern, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    _Match = Callable[[bytes], object]

#: Read in every folder.
GITIGNORE = ".gitignore"
#: At the root of the source directory: replaces every ``.gitignore``.
AMLIGNORE = ".amlignore"
#: Never travel, at any depth.
ALWAYS_LEFT_OUT = frozenset({".git"})
FOLDERS_LEFT_OUT = frozenset({"__pycache__"})
#: Never travel when they stand at the root: the run gets folders of its own by these names.
LEFT_OUT_AT_ROOT = frozenset({"outputs", "logs"})
#: A folder that holds such a file, or such a folder, is a virtual environment.
ENVIRONMENT_FILE = "pyvenv.cfg"
ENVIRONMENT_FOLDER = "conda-meta"


@dataclass(frozen=True)
class IgnoreFile:
    """The patterns of one ignore file, and a quick answer for the many names that none of them matches."""

    patterns: tuple[Pattern, ...]

    @classmethod
    def read(cls, content: bytes) -> IgnoreFile:
        """Return the patterns of these bytes; every byte string is an ignore file."""
        return cls(tuple(parse(content)))

    def verdict(self, name: bytes, path: bytes, is_directory: bool) -> bool | None:
        """Whether the last matching pattern leaves the path out; ``None`` when no pattern matches.

        :param path: from the folder of this ignore file; ``name`` is its last part.
        """
        if not (
            name in self._literals or name.endswith(self._suffixes) or self._wild_name(name) or self._any_path(path)
        ):
            return None
        for pattern, matches in self._backwards:
            if (is_directory or not pattern.directories_only) and matches(name if pattern.by_name else path):
                return not pattern.negative
        return None

    @cached_property
    def _backwards(self) -> list[tuple[Pattern, _Match]]:
        return [(p, re.compile(p.regex, re.DOTALL).fullmatch) for p in reversed(self.patterns)]

    @cached_property
    def _literals(self) -> frozenset[bytes]:
        return frozenset(p.literal for p in self.patterns if p.literal is not None)

    @cached_property
    def _suffixes(self) -> tuple[bytes, ...]:
        return tuple({p.suffix for p in self.patterns if p.suffix is not None})

    @cached_property
    def _wild_name(self) -> _Match:
        return _any_of(p for p in self.patterns if p.by_name and p.literal is None and p.suffix is None)

    @cached_property
    def _any_path(self) -> _Match:
        return _any_of(p for p in self.patterns if not p.by_name)


def _any_of(patterns: Iterable[Pattern]) -> _Match:
    alternatives = [p.regex for p in patterns]
    if not alternatives:
        return _no_match
    return re.compile(b"|".join(b"(?:%s)" % a for a in alternatives), re.DOTALL).fullmatch


def _no_match(_: bytes) -> None:
    return None


@dataclass(frozen=True)
class IgnoreRules:
    """The ignore files that apply in one folder: its own and those above it."""

    files: tuple[tuple[int, IgnoreFile], ...] = ()  #: deepest first, each with the length of its folder's path

    def below(self, folder: bytes, content: bytes) -> IgnoreRules:
        """Return the rules for ``folder`` (``b""`` is the root), whose own ignore file holds ``content``."""
        file = IgnoreFile.read(content)
        if not file.patterns:
            return self
        return IgnoreRules(((len(folder) + 1 if folder else 0, file), *self.files))

    def leave_out(self, name: bytes, path: bytes, is_directory: bool) -> bool:
        """Whether ``path`` (from the root; ``name`` is its last part) is left out, given that its folder is not."""
        for start, file in self.files:
            verdict = file.verdict(name, path[start:], is_directory)
            if verdict is not None:
                return verdict
        return False


NO_RULES = IgnoreRules()
