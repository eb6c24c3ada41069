"""What somebody may have meant."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def suggestion(wrong: str, known: Iterable[str], introduction: str) -> str:
    """Return advice for an unknown name: the closest valid one where one is close, and all there are."""
    names = list(known)
    close = difflib.get_close_matches(wrong, names, n=1)
    listed = f"{introduction} {', '.join(names)}."
    return f"Did you mean {close[0]}? {listed}" if close else listed
