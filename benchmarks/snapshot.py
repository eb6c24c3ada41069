"""A snapshot with nothing changed, with one file changed and from nothing, against what else could tell the same."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.snapshot import Limits, take
from benchmarks import trees
from benchmarks.report import Row, row, text
from scripts.programs import UV

if TYPE_CHECKING:
    from collections.abc import Callable

#: Rounds of each, ours and the peer's in turns.
WARM_ROUNDS, COLD_ROUNDS = 15, 5
#: The most that ours may take, times the peer's.
NO_CHANGE, ONE_CHANGED, COLD = 2.0, 2.5, 1.3
#: What a file of any size may add to the resident memory.
MEMORY_MB = 16
LARGE_FILE_BYTES = 2 * 1024**3
NO_LIMITS = Limits(0, 0, 0)
#: Until file times are old enough for Git and for us to trust them.
SETTLE_SECONDS = 0.2

PEERS = Path(__file__).resolve().parent.parent / ".build" / "peers"
#: Ray's packager runs with these alone; ``--no-deps`` keeps the rest of Ray out.
RAY = ("ray==2.60.0", "msgpack")


def rows() -> list[Row]:
    """Of both generated trees, and the memory that a file of 2 GB takes."""
    made = []
    with tempfile.TemporaryDirectory(prefix="scriptrun-bench-") as folder:
        for tree in (trees.LARGE, trees.SMALL):
            made += _rows(Path(folder), tree)
        made.append(_memory(Path(folder)))
    return made


def _rows(folder: Path, tree: trees.Tree) -> list[Row]:
    root, cache = folder / tree.name, folder / f"{tree.name}-cache"
    files = trees.make(root, tree)
    time.sleep(SETTLE_SECONDS)
    git = _git(folder / f"{tree.name}.git", root)
    victim = files[len(files) // 2]
    name = f"{tree.files:,} files"

    def ours() -> None:
        take(root, cache_directory=cache, limits=NO_LIMITS)

    def change() -> None:
        victim.write_bytes(os.urandom(5000))

    def forget() -> None:
        shutil.rmtree(cache, ignore_errors=True)

    ours()
    git()
    time.sleep(SETTLE_SECONDS)
    ours()
    git()
    return [
        _compare(f"nothing changed, {name}", ours, "git add -A", git, NO_CHANGE),
        _compare(f"nothing changed, {name}", ours, "the bare walk in Python", lambda: _walk(root)),
        _compare(f"one file changed, {name}", ours, "git add -A", git, ONE_CHANGED, before=change),
        _compare(
            f"from nothing, {name}", ours, "read and sha256, one thread", lambda: _read(root), COLD,
            before=forget, rounds=COLD_ROUNDS,
        ),
        _against_ray(f"from nothing, {name}", ours, root, forget),
    ]  # fmt: skip


def _compare(
    name: str,
    ours: Callable[[], None],
    peer_name: str,
    peer: Callable[[], None],
    target: float | None = None,
    *,
    before: Callable[[], None] = lambda: None,
    rounds: int = WARM_ROUNDS,
) -> Row:
    mine, theirs = [], []
    for _ in range(rounds):
        for times, what in ((mine, ours), (theirs, peer)):
            before()
            begun = time.perf_counter()
            what()
            times.append((time.perf_counter() - begun) * 1000)
    lowest = f"{peer_name} (lowest: {min(mine):.1f} / {min(theirs):.1f} = {min(mine) / min(theirs):.2f})"
    return row(name, statistics.median(mine), lowest, statistics.median(theirs), target)


def _git(directory: Path, root: Path) -> Callable[[], None]:
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_DIR": str(directory),
        "GIT_WORK_TREE": str(root),
    }
    subprocess.run(["git", "init", "--quiet"], env=environment, check=True)
    return lambda: void(subprocess.run(["git", "add", "-A"], cwd=root, env=environment, check=True))


def void(_: object) -> None:
    """Return nothing, whatever came."""


def _walk(root: Path) -> None:
    """Look at every file, the cheapest way that Python has: folders by descriptor."""
    todo = [str(root)]
    while todo:
        path = todo.pop()
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(f"{path}/{entry.name}")
                else:
                    entry.stat(follow_symlinks=False)
        os.close(folder)


def _read(root: Path) -> None:
    for folder, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                hashlib.sha256(file.read()).hexdigest()


def _against_ray(name: str, ours: Callable[[], None], root: Path, forget: Callable[[], None]) -> Row:
    try:
        packaging = _ray()
    except (OSError, ImportError, subprocess.CalledProcessError) as error:
        forget()
        begun = time.perf_counter()
        ours()
        return row(name, (time.perf_counter() - begun) * 1000, f"Ray's packager (left out: {error})", None)
    return _compare(
        name,
        ours,
        "Ray's packager, its hash alone",
        lambda: void(packaging(str(root), True)),
        before=forget,
        rounds=COLD_ROUNDS,
    )


def _ray() -> Callable[[str, bool], str]:
    if not PEERS.exists():
        subprocess.run(
            [UV, "pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--target", PEERS, *RAY],
            check=True,
        )
    sys.path.append(str(PEERS))
    try:
        found: Callable[[str, bool], str] = importlib.import_module(
            "ray._private.runtime_env.packaging"
        ).get_uri_for_directory
        return found
    finally:
        sys.path.remove(str(PEERS))


_PEAK = """
import pathlib, resource, sys
from airflow_provider.scriptrun.snapshot import take
root = pathlib.Path(sys.argv[1])
take(root / "warm", cache_directory=root / "memory-cache")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
take(root / "memory", cache_directory=root / "memory-cache")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def _memory(folder: Path) -> Row:
    for name in ("warm", "memory"):
        (folder / name).mkdir()
        (folder / name / "file").write_bytes(b"")
    os.truncate(folder / "memory/file", LARGE_FILE_BYTES)  # sparse: read as zeros, takes no space
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, folder],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
        check=True,
        capture_output=True,
        text=True,
    )
    return row("memory that a file of 2 GB adds (MB for ms)", float(done.stdout), "allowed", MEMORY_MB, 1.0)


if __name__ == "__main__":
    print(text(rows()))
