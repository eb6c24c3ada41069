"""A tree that is not on the target yet, until its run is accepted, against ``tar | ssh tar`` and ``SFTPOperator``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks import trees
from benchmarks.report import Row, row
from benchmarks.ssh_place import PEERS, ROUND_TRIPS_S, Machine, machine, medians, timed
from benchmarks.ssh_submission import trees_name

ROUNDS = 3
#: The most that ours may take, times the peer's, by round trip.
COLD = {0.0: 1.5, 0.03: 1.2}
#: SFTP waits several times for each file: more files take as much longer.
FEW = trees.Tree("few", 100, 1_350_000, 2, 20_250_331)


def rows() -> list[Row]:
    """Of both trees, at all round trips; and of a few files against ``SFTPOperator``."""
    made = []
    with machine() as there:
        for tree in (trees.SMALL, trees.LARGE):
            source, _ = there.tree(tree)
            for rtt_s in ROUND_TRIPS_S:
                made += _rows(there, source, rtt_s)
            shutil.rmtree(source)
        source, _ = there.tree(FEW)
        made += [_against_sftp(there, source, rtt_s) for rtt_s in ROUND_TRIPS_S]
    return made


def _rows(there: Machine, source: Path, rtt_s: float) -> list[Row]:
    where = f"{trees_name(source)}, {rtt_s * 1000:.0f} ms"
    there.link.set_rtt(0)
    _submit(there, source)  # from here on the workspace has it
    there.link.set_rtt(rtt_s)
    known, new, tar = medians(
        ROUNDS,
        lambda: _submit(there, source),
        lambda: _submit(there, source, is_new_here=True),
        lambda: _tar(there, source),
    )
    (bare,) = medians(1, lambda: _submit(there, source, is_installed=False))
    peer = "tar -c | ssh tar -x"
    return [
        row(f"nothing of it there, {where}", known, peer, tar, COLD[rtt_s]),
        row(f"nothing of it there, nor in the workspace, {where}", new, peer, tar),
        row(f"nothing at all there, once, {where}", bare, peer, tar),
    ]


def _submit(there: Machine, source: Path, *, is_installed: bool = True, is_new_here: bool = False) -> float:
    """Return how long it took until the run was accepted, on a root that was empty.

    :param is_installed: the root has the supervisor, which is sent once per version.
    :param is_new_here: the workspace has no blob of it, and no file was hashed before.
    """
    settings = there.here.settings
    if is_new_here:
        shutil.rmtree(settings.workspace, ignore_errors=True)
        for cached in Path(settings.cache_directory).iterdir():
            if cached.name != "hosts":
                shutil.rmtree(cached)
    root = there.use_root(there.new_folder(), is_installed=is_installed)
    run, took = there.submit(source)
    there.finish(run)
    shutil.rmtree(root, ignore_errors=True)  # its supervisor may be about to leave
    return took


def _tar(there: Machine, source: Path) -> float:
    folder = there.new_folder()

    def copy() -> None:
        with subprocess.Popen(["tar", "-c", "-C", source, "."], stdout=subprocess.PIPE) as pack:
            subprocess.run(there.host.ssh("tar", "-x", "-C", str(folder)), stdin=pack.stdout, check=True)

    took = timed(copy)
    shutil.rmtree(folder)
    return took


def _against_sftp(there: Machine, source: Path, rtt_s: float) -> Row:
    there.link.set_rtt(rtt_s)
    ours, sftp = medians(ROUNDS if not rtt_s else 1, lambda: _submit(there, source), lambda: _sftp(there, source))
    name = f"nothing of it there, {FEW.files} files, {rtt_s * 1000:.0f} ms"
    return row(name, ours, "SFTPOperator, a directory", sftp)


def _sftp(there: Machine, source: Path) -> float:
    from airflow.providers.sftp.operators.sftp import SFTPOperator

    folder = there.new_folder()
    put = SFTPOperator(
        task_id="put", ssh_conn_id=PEERS, local_filepath=str(source), remote_filepath=f"{folder}/copy", operation="put"
    )
    took = timed(lambda: put.execute({}))
    shutil.rmtree(folder)
    return took
