"""A run's working copy against ``cp -a``, and a snapshot that arrives where nothing of it is yet against ``tar x``.

Files that are made, removed and made again are no fair measure on every file system (ext4 without a journal avoids
inodes that were deleted lately, and takes a hundred times as long). So the work is done on the tmpfs of /dev/shm where
there is one, or in the folder that SCRIPTRUN_BENCH_FOLDER names; each row says on what.
"""

from __future__ import annotations

import io
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.snapshot import Limits, Snapshot, take
from airflow_provider.scriptrun.supervisor.layout import Layout
from airflow_provider.scriptrun.supervisor.protocol import frames, ranges
from airflow_provider.scriptrun.supervisor.protocol.manifest import blobs_of
from airflow_provider.scriptrun.supervisor.store.checkout import checkout
from airflow_provider.scriptrun.targets.archive import supervisor_archive
from airflow_provider.scriptrun.targets.local import LocalTarget
from airflow_provider.scriptrun.targets.sending import CHUNK_BYTES
from airflow_provider.scriptrun.targets.sessions import PYTHON_OPTIONS
from benchmarks import trees
from benchmarks.place import workbench
from benchmarks.report import Row, row, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROUNDS = 5
#: The most that ours may take, times the peer's.
COPY = 1.5
NO_LIMITS = Limits(0, 0, 0)


def rows() -> list[Row]:
    """Of both generated trees."""
    made = []
    with tempfile.TemporaryDirectory(prefix="scriptrun-bench-", dir=workbench()) as folder:
        for tree in (trees.SMALL, trees.LARGE):
            made += _rows(Path(folder), tree)
    return made


def _file_system(folder: Path) -> str:
    """Return the type of the file system that a folder lies on; of mounts over each other, the last counts."""
    found = {}
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        found[where] = kind
    return next(
        (found[str(path)] for path in (folder, *folder.parents) if str(path) in found), "an unknown file system"
    )


def _rows(folder: Path, tree: trees.Tree) -> list[Row]:
    root = folder / tree.name
    trees.make(root, tree)
    snapshot = take(root, cache_directory=folder / "cache", limits=NO_LIMITS)
    archive, stream = folder / f"{tree.name}.tar", folder / f"{tree.name}.frames"
    subprocess.run(["tar", "-cf", archive, "-C", root, "."], check=True)
    stream.write_bytes(_session(snapshot))
    store = folder / f"{tree.name}-store"
    supervisor = _install(folder / "installed")
    _receive(stream, supervisor, store)
    layout = Layout(str(store))
    what = f"{tree.files:,} files, {tree.total // 10**6} MB, on {_file_system(folder)}"

    def copy(place: Path) -> None:
        checkout(layout, snapshot.id, str(place / "code"))

    def send(place: Path) -> None:
        shutil.copytree(supervisor, place / "root" / "supervisor" / supervisor.name)
        with LocalTarget(root=str(place / "root")) as target:
            target.send(snapshot)

    return [
        _compare(f"working copy, {what}", folder, copy, "cp -a", lambda place: _copy(root, place), COPY),
        _compare(
            f"arriving from nothing, {what}", folder, lambda place: _receive(stream, supervisor, place / "root"),
            "tar -x", lambda place: _extract(archive, place),
        ),
        _compare(
            f"sent from nothing, both sides, {what}", folder, send,
            "tar -c | tar -x", lambda place: _pipe(root, place),
        ),
    ]  # fmt: skip


def _install(root: Path) -> Path:
    """Return the folder of a supervisor as it stands on a target: unpacked and compiled."""
    with LocalTarget(root=str(root)) as target:
        target.check()
    return root / "supervisor" / supervisor_archive().version


def _session(snapshot: Snapshot) -> bytes:
    """Return what a worker says to a target that lacks all of the snapshot."""
    stream = io.BytesIO()
    writer = frames.FrameWriter(stream)

    def put(chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            writer.data(chunk)
        writer.end()

    blobs = blobs_of(snapshot.entries)
    writer.json({"op": "offer", "snapshot": snapshot.id})
    put(frames.chunks(io.BytesIO(snapshot.manifest), len(snapshot.manifest)))
    writer.json({"op": "send", "snapshot": snapshot.id, "blobs": ranges.encode(range(len(blobs)))})
    data = b"".join(chunk for sha256 in blobs for chunk in snapshot.open_blob(sha256))
    put(data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))
    return stream.getvalue()


def _receive(stream: Path, supervisor: Path, root: Path) -> None:
    serve = [sys.executable, *PYTHON_OPTIONS, supervisor, "serve", "--root", root]
    with stream.open("rb") as source:
        done = subprocess.run(serve, stdin=source, stdout=subprocess.PIPE, check=True)
    if b'"complete":true' not in done.stdout:
        raise RuntimeError(f"the snapshot did not arrive: {done.stdout[-500:]!r}")


def _copy(source: Path, place: Path) -> None:
    subprocess.run(["cp", "-a", source, place / "copy"], check=True)


def _extract(archive: Path, place: Path) -> None:
    subprocess.run(["tar", "-xf", archive, "-C", place], check=True)


def _pipe(source: Path, place: Path) -> None:
    with subprocess.Popen(["tar", "-c", "-C", source, "."], stdout=subprocess.PIPE) as pack:
        subprocess.run(["tar", "-x", "-C", place], stdin=pack.stdout, check=True)


def _compare(
    name: str,
    folder: Path,
    ours: Callable[[Path], None],
    peer_name: str,
    peer: Callable[[Path], None],
    target: float | None = None,
) -> Row:
    """Time both in turns, each in a new folder that is removed afterwards."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for one, took in zip((ours, peer), times, strict=True):
            place = Path(tempfile.mkdtemp(dir=folder))
            begun = time.perf_counter()
            one(place)
            took.append((time.perf_counter() - begun) * 1000)
            shutil.rmtree(place)
    return row(name, statistics.median(times[0]), peer_name, statistics.median(times[1]), target)


if __name__ == "__main__":
    print(text(rows()))
