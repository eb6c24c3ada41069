"""What is sent: the exact files of a source directory, named by the sha256 of their manifest, and what Git knows.

::

    take(source_directory, cache_directory=...) -> Snapshot      ids, manifest, the files' bytes on demand
    take_file(path, cache_directory=...) -> Listed               the same of one file, which is data
    take_url(address, cache_directory=...) -> Listed             the same of what lies behind a URL
    git_facts(source_directory) -> GitFacts                      commit, branch, repository, dirty, patch
    restore(entries, open_blob, destination) -> RestoreFacts     a snapshot back into a new folder

Names load when they are used: importing this package reads no other module of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .address import Address
    from .blob import BlobSource
    from .capture import take
    from .git import Bundle, GitFacts, git_facts
    from .limits import Limits
    from .listed import Listed
    from .restoring import RestoreFacts, restore
    from .single_file import take_file
    from .snapshot import Snapshot
    from .url import take_url

_HOME = {
    "Address": "address",
    "BlobSource": "blob",
    "Bundle": "git",
    "GitFacts": "git",
    "Limits": "limits",
    "Listed": "listed",
    "RestoreFacts": "restoring",
    "Snapshot": "snapshot",
    "git_facts": "git",
    "restore": "restoring",
    "take": "capture",
    "take_file": "single_file",
    "take_url": "url",
}

__all__ = [
    "Address",
    "BlobSource",
    "Bundle",
    "GitFacts",
    "Limits",
    "Listed",
    "RestoreFacts",
    "Snapshot",
    "git_facts",
    "restore",
    "take",
    "take_file",
    "take_url",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
