"""Canonical JSON: one value, one byte string, on every machine. Ids and keys are hashes of it."""

from __future__ import annotations

import json

try:  # CPython's own, whose name changed in 3.12
    from _sha256 import sha256  # type: ignore[import-not-found]
except ImportError:
    try:
        from _sha2 import sha256  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha256

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any

#: From here on OpenSSL is faster, which takes as long to load as a third of the start of Python.
LONG_BYTES = 256 * 1024


def canonical_json(value: Any) -> bytes:
    """Return ``value`` as ASCII JSON with sorted keys and no spaces.

    Lone surrogates (file names that are not UTF-8, see PEP 383) are escaped and so survive the round trip.
    Raises ``ValueError`` for NaN and infinities, ``TypeError`` for what JSON cannot hold.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def digest(data: bytes) -> str:
    """Return the sha256 of ``data`` as 64 lower-case hexadecimal digits."""
    if len(data) >= LONG_BYTES:
        import hashlib

        return hashlib.sha256(data).hexdigest()
    return str(sha256(data).hexdigest())
