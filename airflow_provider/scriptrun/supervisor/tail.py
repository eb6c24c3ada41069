"""The last lines of a log: what a person wants to see first when a run has failed."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Optional

    from .layout import RunLayout

MAX_LINES = 20
MAX_BYTES = 8 * 1024


def last_lines(run: RunLayout) -> Optional[str]:
    """Return the tail of ``run.log``, or of ``build.log`` while the script has written nothing; ``None`` for none."""
    for path in (run.run_log, run.build_log):
        found = read(path)
        if found:
            return found
    return None


def read(path: str) -> Optional[str]:
    """Return at most 20 lines and 8 KB from the end of a file, as text; ``None`` when there is nothing."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MAX_BYTES))
            block = file.read(MAX_BYTES)
    except FileNotFoundError:
        return None
    lines = block.decode("utf-8", "replace").splitlines(True)[-MAX_LINES:]
    while len("".join(lines).encode("utf-8")) > MAX_BYTES:  # a replacement character is longer than its byte
        lines[0] = lines[0][len(lines[0]) // 4 + 1 :]
        lines = [line for line in lines if line]
    return "".join(lines) or None
