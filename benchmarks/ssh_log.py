"""What comes back over SSH: the end of a run, and a log of 100 MB, against ``SSHRemoteJobOperator``."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.place import kept
from benchmarks.report import Row, row
from benchmarks.ssh_place import PEERS, ROUND_TRIPS_S, Machine, machine, medians

ROUNDS = 7
#: Beyond one round trip.
END_MS = 200.0
LOG_BYTES = 100_000_000
#: at 20 MB/s
LOG_MS = LOG_BYTES / 20e6 * 1000
LOG_ROUNDS = 2
#: How long the peer's jobs take: it looks every five seconds, and so its delay depends on that.
DURATIONS_S = (0.8, 2.5, 4.2)
#: A peer that is still busy with the log after so long is stopped.
PEER_PATIENCE_S = 20.0
#: By then somebody watches, as somebody does when a run ends.
END = "import os, sys, time\ntime.sleep(float((*sys.argv, 0.3)[1]))\nos.write(1, b'%r\\n' % time.time())\n"
TALK = f"""
import hashlib, sys
digest, block = hashlib.sha256(), b"".join(b"%015d " % line + b"log line " * 9 + b"\\n" for line in range(10_000))
for number in range({LOG_BYTES} // len(block) + 1):
    piece = block[: {LOG_BYTES} - number * len(block)]
    digest.update(piece)
    sys.stdout.buffer.write(piece)
open("outputs/sha256" if len(sys.argv) == 1 else sys.argv[1], "w").write(digest.hexdigest())
"""


def rows() -> list[Row]:
    """At all round trips."""
    made = []
    with machine() as there:
        code = there.here.base_directory / "code"
        code.mkdir()
        (code / "end.py").write_text(END)
        (code / "talk.py").write_text(TALK)
        scripts = there.new_folder()
        (scripts / "end.py").write_text(END)
        (scripts / "talk.py").write_text(TALK)
        there.use_root(there.new_folder())
        _end(there, code)  # the first one sends the code
        for rtt_s in ROUND_TRIPS_S:
            there.link.set_rtt(rtt_s)
            made += _ends(there, code, scripts, rtt_s) + _logs(there, code, scripts, rtt_s)
    return made


def _ends(there: Machine, code: Path, scripts: Path, rtt_s: float) -> list[Row]:
    (ours,) = medians(ROUNDS, lambda: _end(there, code))
    peers = asyncio.run(_their_ends(there, scripts))
    name = f"end of the script to the task knowing it, {rtt_s * 1000:.0f} ms"
    return [
        row(name, ours, f"one round trip + {END_MS:.0f} ms", rtt_s * 1000 + END_MS, 1.0),
        row(name, ours, "SSHRemoteJobOperator, median of jobs of 0.8, 2.5, 4.2 s", statistics.median(peers)),
    ]


def _end(there: Machine, code: Path) -> float:
    run, _ = there.submit(code, "end.py")
    run.watch()
    known = time.time()
    run.collect()
    ended = float(kept(run, "run.log").read_text())
    run.close()
    return (known - ended) * 1000


async def _their_ends(there: Machine, scripts: Path) -> list[float]:
    async def one(duration_s: float) -> float:
        event, known = {}, 0.0
        job = await asyncio.to_thread(submit_job, f"python3 {scripts}/end.py {duration_s}", there.new_folder())
        async for said in job.run():
            event, known = said.payload, time.time()
        return (known - float(event["log_chunk"])) * 1000

    return list(await asyncio.gather(*map(one, DURATIONS_S)))


def _logs(there: Machine, code: Path, scripts: Path, rtt_s: float) -> list[Row]:
    where = f"{rtt_s * 1000:.0f} ms"
    (ours,) = medians(LOG_ROUNDS, lambda: _log(there, code))
    arrived, took_s, is_over = asyncio.run(_their_log(there, scripts))
    peer = f"SSHRemoteJobOperator, {'ended' if is_over else 'stopped'} after {took_s:.1f} s"
    return [
        row(f"100 MB of log to the workspace, sha256 equal, {where}", ours, "20 MB/s", LOG_MS, 1.0),
        row(f"of these 100 MB, so many arrive (KB, not ms), {where}", LOG_BYTES / 1000, peer, arrived / 1000),
    ]


def _log(there: Machine, code: Path) -> float:
    begun = time.perf_counter()
    run, _ = there.submit(code, "talk.py")
    run.watch()
    run.collect()
    took = (time.perf_counter() - begun) * 1000
    with kept(run, "run.log").open("rb") as log:
        digest = hashlib.file_digest(log, "sha256").hexdigest()
    if digest != kept(run, "outputs/sha256").read_text():
        raise RuntimeError("the log in the workspace is not what the script wrote")
    run.close()
    return took


async def _their_log(there: Machine, scripts: Path) -> tuple[int, float, bool]:
    """Return how many bytes of the log came, after how many seconds, and whether the peer was through by then."""
    folder = there.new_folder()
    begun = time.perf_counter()
    job = await asyncio.to_thread(submit_job, f"python3 {scripts}/talk.py {folder}/sha256", folder)
    arrived, is_over = 0, False
    read = job._read_log_chunk

    async def counted(connection: Any) -> tuple[str, int]:
        nonlocal arrived
        chunk, offset = await read(connection)
        arrived += len(chunk.encode())
        return chunk, offset

    job._read_log_chunk = counted

    async def follow() -> None:
        nonlocal is_over
        async for said in job.run():
            is_over = said.payload["done"]

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(follow(), PEER_PATIENCE_S)
    return arrived, time.perf_counter() - begun, is_over


def submit_job(command: str, folder: Path) -> Any:
    """Return the trigger that the peer's operator defers to."""
    from airflow.providers.ssh.operators.ssh_remote_job import SSHRemoteJobOperator
    from airflow.sdk.exceptions import TaskDeferred

    operator = SSHRemoteJobOperator(
        task_id="job", ssh_conn_id=PEERS, command=command, remote_base_dir=str(folder), do_xcom_push=False
    )
    instance = SimpleNamespace(dag_id="bench", task_id="job", run_id=folder.name, try_number=1)
    try:
        operator.execute({"ti": instance})
    except TaskDeferred as deferred:
        return deferred.trigger
    raise RuntimeError("the peer did not defer")
