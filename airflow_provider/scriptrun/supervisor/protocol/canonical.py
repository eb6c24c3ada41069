"""Canonical JSON: one value, one byte string, on every machine. Ids and keys are hashes of it."""

from __future__ import annotations

import hashlib
import json

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any


def canonical_json(value: Any) -> bytes:
    """Return ``value`` as ASCII JSON with sorted keys and no spaces.

    Lone surrogates (file names that are not UTF-8, see PEP 383) are escaped and so survive the round trip.
    Raises ``ValueError`` for NaN and infinities, ``TypeError`` for what JSON cannot hold.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def digest(data: bytes) -> str:
    """Return the sha256 of ``data`` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
