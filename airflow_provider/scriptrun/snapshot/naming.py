"""How a path is shown to a person."""

from __future__ import annotations

import os


def shown(path: str | bytes) -> str:
    """Return a path for a message: as it is, or quoted with escapes when it has line breaks or is not UTF-8."""
    text = os.fsdecode(path)
    return text if text.isprintable() else ascii(text)


def in_words(count: int) -> str:
    """Return a number of bytes as a person reads it: ``512 bytes``, ``1.4 MiB`` (binary, as Azure ML's limits are)."""
    if count < 1024:
        return f"{count} bytes"
    number, unit = count / 1024, "KiB"
    for larger in ("MiB", "GiB"):
        if number < 1000:
            break
        number, unit = number / 1024, larger
    return f"{number:.0f} {unit}" if number >= 100 else f"{number:.1f} {unit}"
