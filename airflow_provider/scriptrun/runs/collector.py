"""Python's cyclic garbage collector, held off while tens of thousands of small objects are made."""

from __future__ import annotations

import contextlib
import gc
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_lock = threading.Lock()
_holders = 0
_was_enabled = False


@contextlib.contextmanager
def held_off() -> Iterator[None]:
    """Run the body without collections; those that several threads hold off begin again with the last one.

    Every few thousand containers that are made set a collection off, and a full one walks all that Airflow has loaded:
    0.2 s in the middle of a submission, for garbage that the manifests of files do not make: they have no cycles.
    """
    global _holders, _was_enabled
    with _lock:
        if not _holders:
            _was_enabled = gc.isenabled()
            gc.disable()
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if not _holders and _was_enabled:
                gc.enable()
