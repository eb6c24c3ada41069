"""A log of 1 GB, from the run to the workspace: every byte, how fast, and in how much memory."""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path

from airflow_provider.scriptrun import ScriptRunConfig
from benchmarks.place import kept, place
from benchmarks.report import Row, row

GIGABYTE = 10**9
#: at 50 MB/s
ALLOWED_MS = GIGABYTE / 50e6 * 1000
#: what the process may grow by: a few buffers, whatever the log's size
ALLOWED_GROWTH_MB = 64.0
SCRIPT = """
import hashlib, sys
digest, block = hashlib.sha256(), b"".join(b"%015d " % line + b"log line " * 9 + b"\\n" for line in range(10_000))
for number in range(10**9 // len(block) + 1):
    piece = block[: 10**9 - number * len(block)]
    digest.update(piece)
    sys.stdout.buffer.write(piece)
open("outputs/sha256", "w").write(digest.hexdigest())
"""


def rows() -> list[Row]:
    """The time from submit to the log's last byte in the workspace, the script's own writing included."""
    with place() as here:
        code = here.base_directory / "code"
        code.mkdir()
        (code / "talk.py").write_text(SCRIPT)
        before = _peak_memory_kib(reset=True)
        begun = time.perf_counter()
        run = here.experiment.submit(ScriptRunConfig(str(code), script="talk.py"))
        run.watch()
        run.collect()
        took = (time.perf_counter() - begun) * 1000
        growth = (_peak_memory_kib() - before) / 1024
        with kept(run, "run.log").open("rb") as log:
            digest = hashlib.file_digest(log, "sha256")
        if digest.hexdigest() != kept(run, "outputs/sha256").read_text():
            raise RuntimeError("the log in the workspace is not what the script wrote")
        run.close()
    return [
        row("1 GB of log to the workspace, sha256 equal", took, "50 MB/s", ALLOWED_MS, 1.0),
        row("growth of memory meanwhile (MB, not ms)", growth, "64 MB", ALLOWED_GROWTH_MB, 1.0),
    ]


def _peak_memory_kib(*, reset: bool = False) -> int:
    """Return the most memory that this process has held since the last reset (proc(5): clear_refs, VmHWM)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError("the kernel does not say how much memory was used")
    return int(found[1])
