"""What Git knows of a source directory: facts for the run record. Trouble with Git never stops a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Bundle:
    """The DAG bundle that stands in when there is no Git."""

    name: str
    version: str | None = None


@dataclass(frozen=True)
class GitFacts:
    """Facts for the run record; a field is ``None`` when it is not known, and ``reason`` then says why."""

    commit: str | None = None  #: 40 (or 64) hexadecimal digits; the bundle's version where that stands in
    branch: str | None = None  #: ``None`` for a detached HEAD
    repository: str | None = None  #: the remote's URL without credentials; the bundle's name where that stands in
    dirty: bool | None = (
        None  #: whether anything under the source directory differs from the commit, untracked files included
    )
    patch: bytes | None = (
        None  #: the difference as ``git apply`` takes it from the repository's root, untracked and binary files too
    )
    reason: str | None = None  #: why facts or the patch are missing
    source: str | None = None  #: where the facts come from: ``git``, ``bundle``, or ``None``


def git_facts(directory: Path, *, bundle: Bundle | None = None) -> GitFacts:
    """Return what Git says about ``directory``. Never raises, writes nothing there, may run in any thread."""
    raise NotImplementedError
