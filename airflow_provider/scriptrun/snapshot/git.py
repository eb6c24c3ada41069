"""What Git knows of a source directory: facts for the run record. Trouble with Git never stops a run."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from .git_process import GitError, GitProcess
from .ignore import LEFT_OUT_AT_ROOT
from .patch import make_patch
from .remote import without_credentials

_log = logging.getLogger(__name__)

#: What of a source directory can be dirty: not what never travels.
_PATHSPEC = [".", *(f":(exclude){name}" for name in sorted(LEFT_OUT_AT_ROOT))]


@dataclass(frozen=True)
class Bundle:
    """The DAG bundle that stands in when there is no Git, for what came with it."""

    name: str
    version: str | None = None
    repository: str | None = field(default=None, repr=False)  #: the URL of the remote that it was cloned from
    folder: Path | None = None  #: where it is on this machine; ``None``: everything came with it

    def holds(self, directory: Path) -> bool:
        """Whether a directory of this machine came with it."""
        if self.folder is None:
            return True
        return Path(os.path.realpath(directory)).is_relative_to(os.path.realpath(self.folder))


@dataclass(frozen=True)
class GitFacts:
    """Facts for the run record; a field is ``None`` when it is not known, and ``reason`` then says why."""

    commit: str | None = None  #: 40 (or 64) hexadecimal digits; the bundle's version where that stands in
    branch: str | None = None  #: ``None`` for a detached HEAD
    repository: str | None = None  #: the remote's URL without credentials; else the name of the bundle that stands in
    dirty: bool | None = None  #: whether what could travel differs from the commit, untracked files included
    patch: bytes | None = None  #: that difference, as ``git apply`` takes it at the repository's root
    reason: str | None = None  #: why facts or the patch are missing
    source: str | None = None  #: where the facts come from: ``git``, ``bundle``, or ``None``


def git_facts(directory: Path, *, bundle: Bundle | None = None) -> GitFacts:
    """Return what Git says about ``directory``. Never raises, writes nothing there, may run in any thread."""
    if bundle is not None and not bundle.holds(directory):
        bundle = None
    try:
        return _past_the_bundles_clone(_ask(directory), bundle)
    except GitError as error:
        return _stand_in(bundle, str(error))
    except (OSError, ValueError) as error:
        _log.warning("Git facts of %s are left out: %s", directory, error)
        return _stand_in(bundle, f"Git could not be asked: {error}")


def _stand_in(bundle: Bundle | None, reason: str) -> GitFacts:
    if bundle is None:
        return GitFacts(reason=reason)
    repository = without_credentials(bundle.repository) if bundle.repository else bundle.name
    return GitFacts(commit=bundle.version, repository=repository, reason=reason, source="bundle")


def _past_the_bundles_clone(facts: GitFacts, bundle: Bundle | None) -> GitFacts:
    """Name the remote of a bundle that kept its ``.git``: Airflow clones it from a bare clone on the same machine."""
    if bundle is None or not bundle.repository or not (facts.repository or "").startswith("/"):
        return facts
    return replace(facts, repository=without_credentials(bundle.repository))


def _ask(directory: Path) -> GitFacts:
    # All three at once: each costs a few milliseconds, most of it Git's own start.
    status = GitProcess(
        directory,
        ["status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames", "--", *_PATHSPEC],
    )
    others = []
    try:
        others.append(GitProcess(directory, ["config", "-z", "--get-regexp", r"^(remote|branch|filter)\."]))
        others.append(GitProcess(directory, ["check-ignore", "-q", "."]))
        state = _State.parse(status.output())
        settings = _Settings.parse(others[0].output(also=1))
        if _is_ignored(others[1]):
            raise GitError("the repository around the source directory ignores it")
    finally:
        for process in (status, *others):
            process.end()
    facts = GitFacts(
        commit=state.commit,
        branch=state.branch,
        repository=settings.repository(state.branch),
        dirty=bool(state.changed),
        source="git",
    )
    if state.commit is None:
        return replace(facts, reason="the repository has no commit yet")
    if not state.changed:
        return facts
    patch = make_patch(directory, state.changed, _PATHSPEC, settings.filters)
    return replace(facts, patch=patch.content, reason=patch.reason)


def _is_ignored(process: GitProcess) -> bool:
    try:
        process.output()
    except GitError:
        return False  # exit code 1: it is not ignored
    return True


@dataclass(frozen=True)
class _State:
    """What ``git status --porcelain=v2 --branch -z`` says."""

    commit: str | None
    branch: str | None
    changed: list[bytes]

    @classmethod
    def parse(cls, output: bytes) -> _State:
        commit = branch = None
        changed = []
        for record in output.split(b"\0"):
            kind, _, rest = record.partition(b" ")
            if record.startswith(b"# branch.oid ") and not record.endswith(b"(initial)"):
                commit = record[len(b"# branch.oid ") :].decode("ascii")
            elif record.startswith(b"# branch.head ") and not record.endswith(b" (detached)"):
                branch = record[len(b"# branch.head ") :].decode("utf-8", "replace")
            elif kind in _FIELDS_BEFORE_PATH:
                changed.append(rest.split(b" ", _FIELDS_BEFORE_PATH[kind])[-1])
        return cls(commit, branch, changed)


#: By kind of record: how many fields stand before its path (git-status(1)): changed, unmerged, untracked.
_FIELDS_BEFORE_PATH = {b"1": 7, b"u": 9, b"?": 0}


@dataclass(frozen=True)
class _Settings:
    """What a repository's configuration says of remotes and filters."""

    remotes: dict[str, str]  #: name to URL
    upstreams: dict[str, str]  #: branch to remote
    filters: list[str]

    @classmethod
    def parse(cls, output: bytes) -> _Settings:
        remotes: dict[str, str] = {}
        upstreams: dict[str, str] = {}
        filters: dict[str, None] = {}
        for record in output.decode("utf-8", "replace").split("\0"):
            key, _, value = record.partition("\n")
            section, _, rest = key.partition(".")
            name, _, variable = rest.rpartition(".")
            if section == "remote" and variable == "url":
                remotes.setdefault(name, value)
            elif section == "branch" and variable == "remote":
                upstreams[name] = value
            elif section == "filter" and name:
                filters[name] = None
        return cls(remotes, upstreams, list(filters))

    def repository(self, branch: str | None) -> str | None:
        """Return the URL of the branch's remote, else of ``origin``, else of the only one, without credentials."""
        candidates = [self.upstreams.get(branch or ""), "origin"]
        if len(self.remotes) == 1:
            candidates += self.remotes
        for name in candidates:
            if name in self.remotes:
                return without_credentials(self.remotes[name])
        return None
