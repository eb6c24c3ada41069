"""A submission over SSH when the target has all, or all but one file, against paramiko alone and ``rsync``."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from benchmarks import trees
from benchmarks.report import Row, row
from benchmarks.ssh_place import ROUND_TRIPS_S, SETTLE_S, Machine, machine, medians, timed

ROUNDS = 9
CHANGED_ROUNDS = 7
#: The most that ours may take, times the peer's, by round trip.
NO_CHANGE = {0.0: 1.25, 0.03: 1.15}
ONE_CHANGED = 1.0
#: What may travel for one changed file: twice the file, and this, and so much for each file of the tree.
ALLOWED_BYTES, ALLOWED_BYTES_PER_FILE = 100_000, 50
#: The least that a session with a Python can be.
BARE = "python3 -IS -c pass"


def rows() -> list[Row]:
    """Of both trees, at all round trips."""
    made = []
    with machine() as there:
        for tree in (trees.SMALL, trees.LARGE):
            source, files = there.tree(tree)
            copy = _prepare(there, source)
            for rtt_s in ROUND_TRIPS_S:
                there.link.set_rtt(rtt_s)
                made += _rows(there, source, copy, files[len(files) // 2], rtt_s)
            shutil.rmtree(source)
    return made


def _prepare(there: Machine, source: Path) -> str:
    """Bring the tree over, ours and the peer's way, and return where the peer's is."""
    there.link.set_rtt(0)
    there.use_root(there.new_folder())
    there.finish(there.submit(source)[0])
    copy = f"{there.new_folder()}/copy"
    rsync(there, source, copy)
    time.sleep(SETTLE_S)
    there.finish(there.submit(source)[0])
    return copy


def _rows(there: Machine, source: Path, copy: str, victim: Path, rtt_s: float) -> list[Row]:
    where = f"{trees_name(source)}, {rtt_s * 1000:.0f} ms"
    size, tree_files = victim.stat().st_size, sum(len(names) for *_, names in os.walk(source))
    travelled: dict[str, list[int]] = {"ours": [], "rsync": []}

    def unchanged() -> float:
        run, took = there.submit(source)
        there.finish(run)
        return took

    def changed() -> float:
        victim.write_bytes(os.urandom(size))
        before = _travelled(there)
        run, took = there.submit(source)
        travelled["ours"].append(_travelled(there) - before)
        there.finish(run)
        return took

    def synchronised() -> float:
        before = _travelled(there)
        took = timed(lambda: rsync(there, source, copy))
        travelled["rsync"].append(_travelled(there) - before)
        return took

    ours, bare = medians(ROUNDS, unchanged, lambda: _bare(there))
    ours_changed, theirs_changed = medians(CHANGED_ROUNDS, changed, synchronised)
    allowed = 2 * size + ALLOWED_BYTES + ALLOWED_BYTES_PER_FILE * tree_files
    bytes_ours, bytes_rsync = (max(travelled[name]) / 1000 for name in ("ours", "rsync"))
    return [
        row(f"nothing changed, {where}", ours, f"paramiko: connect, {BARE}", bare, NO_CHANGE[rtt_s]),
        row(f"one file changed, {where}", ours_changed, "rsync -a", theirs_changed, ONE_CHANGED),
        row(f"bytes for one changed file (KB, not ms), {where}", bytes_ours, "allowed", allowed / 1000, 1.0),
        row(f"bytes for one changed file (KB, not ms), {where}", bytes_ours, "rsync -a", bytes_rsync),
    ]


def trees_name(source: Path) -> str:
    """Return what to call a generated tree."""
    tree = {tree.name: tree for tree in (trees.SMALL, trees.LARGE)}[source.name]
    return f"{tree.files:,} files"


def rsync(there: Machine, source: Path, copy: str) -> None:
    """Bring the target's copy up to date."""
    host = there.host
    *remote_shell, destination = host.ssh()
    command = ["rsync", "-a", "-e", " ".join(remote_shell), f"{source}/", f"{destination}:{copy}/"]
    subprocess.run(command, check=True)


def _travelled(there: Machine) -> int:
    traffic = there.link.traffic()
    return traffic.up_bytes + traffic.down_bytes


def _bare(there: Machine) -> float:
    import paramiko

    host = there.host
    with paramiko.SSHClient() as client:
        client.load_host_keys(host.known_hosts)
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        begun = time.perf_counter()
        client.connect(
            host.address, port=host.port, username=host.user, key_filename=host.key_path, look_for_keys=False,
            allow_agent=False,
        )  # fmt: skip
        _, output, _ = client.exec_command(BARE)
        code = output.channel.recv_exit_status()
        took = (time.perf_counter() - begun) * 1000
    if code:
        raise RuntimeError(f"{BARE} ended with {code}")
    return took
