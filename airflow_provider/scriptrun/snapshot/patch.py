"""The difference between a directory and the last commit, in a form that ``git apply`` takes.

Made with a copy of the index and an object directory of its own, so that nothing in the user's repository is written.
Filters (Git LFS) are off: the patch then holds the files' content itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .git_process import GitError, GitProcess
from .naming import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: A patch is for reading and for small differences; the snapshot itself holds every file.
PATCH_MAX_BYTES = 10 * 1024 * 1024
#: More than this is not even looked at: Git would compress all of it first.
CHANGED_MAX_BYTES = 64 * 1024 * 1024

_NO_SPECIAL_FILES = ("--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/")


@dataclass(frozen=True)
class Patch:
    """``content``, or else the ``reason`` why there is none."""

    content: bytes | None
    reason: str | None = None


def make_patch(directory: Path, changed: Sequence[bytes], pathspec: Sequence[str], filters: Sequence[str]) -> Patch:
    """Return what changed under ``directory`` since ``HEAD``, untracked and binary files too.

    :param changed: the paths of what changed, from the repository's root; only to tell beforehand how much it is.
    :param pathspec: what of the directory to look at.
    :param filters: the names of the filters that are configured.
    """
    try:
        top, index, objects = _places(directory)
        size = sum(_size(top / os.fsdecode(path)) for path in changed)
        if size > CHANGED_MAX_BYTES:
            return Patch(None, f"the changed files have {in_words(size)}, too much for a patch")
        with tempfile.TemporaryDirectory(prefix="scriptrun-patch-") as folder:
            return _make(directory, Path(folder), index, objects, pathspec, _without(filters))
    except GitError as error:
        return Patch(None, f"no patch: {error}")
    except OSError as error:
        return Patch(None, f"no patch: {error}")


def _make(
    directory: Path,
    folder: Path,
    index: Path,
    objects: Path,
    pathspec: Sequence[str],
    configuration: Mapping[str, str],
) -> Patch:
    own_index = folder / "index"
    if index.exists():
        # With its time, by which Git knows what may have changed since, in the same second.
        shutil.copy2(index, own_index)
    own_objects = folder / "objects"
    own_objects.mkdir()
    variables = {"GIT_INDEX_FILE": str(own_index), "GIT_OBJECT_DIRECTORY": str(own_objects)}
    # Without the repository's objects: of those that it finds there, Git would renew the time.
    GitProcess(
        directory,
        ["add", "--all", "--ignore-errors", "--", *pathspec],
        configuration={**configuration, "core.looseCompression": "0", "core.splitIndex": "false"},
        variables=variables,
    ).output()
    content = GitProcess(
        directory,
        ["diff", "--cached", "--binary", "--full-index", *_NO_SPECIAL_FILES, "HEAD", "--", *pathspec],
        configuration=configuration,
        variables={**variables, "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(str(objects))},
        errors=subprocess.DEVNULL,
    ).output_up_to(PATCH_MAX_BYTES)
    if content is None:
        return Patch(None, f"the patch would have more than {in_words(PATCH_MAX_BYTES)}")
    return Patch(content)


def _places(directory: Path) -> tuple[Path, Path, Path]:
    output = GitProcess(
        directory,
        ["rev-parse", "--path-format=absolute", "--show-toplevel", "--git-path", "index", "--git-path", "objects"],
    ).output()
    lines = output.rstrip(b"\n").split(b"\n")
    if len(lines) != 3:
        raise GitError("the repository's path has a line break")
    top, index, objects = (Path(os.fsdecode(line)) for line in lines)
    return top, index, objects


def _without(filters: Sequence[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for name in filters:
        settings |= {f"filter.{name}.clean": "", f"filter.{name}.process": "", f"filter.{name}.required": "false"}
    return settings


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # it was deleted
        return 0


def _quoted(path: str) -> str:
    """Return a path for a list that is separated by ``:`` (git(1), GIT_ALTERNATE_OBJECT_DIRECTORIES)."""
    if ":" not in path and not path.startswith('"'):
        return path
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
