"""Trees for tests: a tree is a dictionary of names, made on disk by ``plant``, told as a manifest by ``expected``."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from airflow_provider.scriptrun.snapshot import Limits, Snapshot, take
from airflow_provider.scriptrun.supervisor.protocol import manifest

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class File:
    content: bytes
    executable: bool = False


@dataclass(frozen=True)
class Link:
    target: bytes


Tree = dict[bytes, "File | Link | Tree"]

#: Names whose order by byte is not their order as paths, and names that a careless program would cut or fold.
AWKWARD = [
    b"a",
    b"ab",
    b"a-b",
    b"a.b",
    b"a b",
    b"A",
    b"a\nb",
    b"\xff",
    b"\xc3\xa9",
    b"-",
    b"*",
    b"[",
    b"a,1:f,",
    b" ",
    b"~",
]
names = st.one_of(
    st.sampled_from(AWKWARD),
    st.binary(min_size=1, max_size=6).filter(lambda n: b"/" not in n and b"\0" not in n and not n.startswith(b".")),
).filter(lambda name: name not in (b"outputs", b"logs"))
contents = st.sampled_from([b"", b"a", b"b", b"ab", b"x" * 3000])
files = st.builds(File, contents, st.booleans())
#: None of these can lead outside, whatever else there is.
links = st.builds(Link, st.sampled_from([b"a", b"ab", b".", b"missing", b"./b//a"]))
trees = st.recursive(
    st.dictionaries(names, st.one_of(files, links), max_size=4),
    lambda below: st.dictionaries(names, st.one_of(files, links, below), max_size=4),
    max_leaves=8,
)


def plant(folder: Path | bytes, tree: Tree, *, backwards: bool = False) -> None:
    """Make a tree in a folder that exists."""
    for name in sorted(tree, reverse=backwards):
        what, path = tree[name], os.path.join(os.fsencode(folder), name)
        if isinstance(what, File):
            with open(path, "wb") as file:
                file.write(what.content)
            os.chmod(path, 0o755 if what.executable else 0o644)
        elif isinstance(what, Link):
            os.symlink(what.target, path)
        else:
            os.mkdir(path)
            plant(path, what, backwards=backwards)


def expected(tree: Tree, prefix: bytes = b"") -> list[manifest.Entry]:
    """Return the entries that a snapshot of the tree must have, told without looking at a disk."""
    entries = []
    for name, what in tree.items():
        path = prefix + name
        if isinstance(what, File):
            kind = manifest.EXECUTABLE if what.executable else manifest.FILE
            digest = hashlib.sha256(what.content).hexdigest().encode()
            entries.append(manifest.Entry(path, kind, len(what.content), digest))
        elif isinstance(what, Link):
            entries.append(manifest.Entry(path, manifest.LINK, 0, what.target))
        elif what:
            entries += expected(what, path + b"/")
        else:
            entries.append(manifest.Entry(path, manifest.DIRECTORY, 0, b""))
    return entries


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for one generated example, in memory where the system has such a place."""
    shared = "/dev/shm"
    folder = Path(tempfile.mkdtemp(dir=shared if os.access(shared, os.W_OK) else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def fresh(root: Path, **options: object) -> Snapshot:
    """Take a snapshot that knows nothing of earlier ones."""
    with tempfile.TemporaryDirectory() as cache:
        return take(root, cache_directory=Path(cache), **options)


def paths(snapshot: Snapshot) -> set[str]:
    """Return the paths that travel, as text."""
    return {os.fsdecode(entry.path) for entry in snapshot.entries}


def write(path: Path, content: bytes | str = b"x") -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def let_the_clock_pass(folder: Path) -> None:
    """Wait until the file system's clock has gone on so far that what was written before is no longer racy."""
    probe = folder / "clock"
    probe.write_bytes(b"")
    first = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns < first + 60_000_000:
        probe.write_bytes(b"")
    probe.unlink()


NO_LIMITS = Limits(0, 0, 0)
