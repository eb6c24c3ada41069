"""Which content a file had when it was last read, by what tells that it is the same file still.

One file of JSON per source in the cache directory. Losing it costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING, NamedTuple

from ..supervisor.protocol.atomic import write_atomic
from .cache import remove_unused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_log = logging.getLogger(__name__)
_VERSION = 1


class Digest(NamedTuple):
    """What was read of a file."""

    stamp: str  #: what it looked like then: while it looks the same, it holds the same
    size: int  #: bytes
    sha256: str


class Digests:
    """What is remembered of one source.

    :param identity: names the source: two sources never share one.
    """

    def __init__(self, cache_directory: Path, identity: bytes) -> None:
        self._folder = cache_directory / "inputs"
        self._path = self._folder / f"{hashlib.sha256(identity).hexdigest()[:40]}.json"

    def load(self) -> dict[str, Digest]:
        """Return what is remembered, by path; nothing when it cannot be used."""
        try:
            document = json.loads(self._path.read_bytes())
            if document["version"] != _VERSION:
                return {}
            return {str(path): _digest(*values) for path, values in document["files"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            _log.warning("The cache %s is not used and is made anew: %r", self._path, error)
            return {}

    def save(self, digests: Mapping[str, Digest]) -> None:
        """Remember these, and nothing else. A disk that refuses is logged: nothing depends on the cache."""
        document = {"version": _VERSION, "files": digests}
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._path.exists():
                remove_unused(self._folder)
            write_atomic(str(self._path), json.dumps(document).encode("ascii"))
        except OSError as error:
            _log.warning("The cache %s cannot be written, the next run reads its input again: %s", self._path, error)


def _digest(stamp: str, size: int, sha256: str) -> Digest:
    if (
        not isinstance(stamp, str)
        or not isinstance(size, int)
        or len(bytes.fromhex(sha256)) != hashlib.sha256().digest_size
    ):
        raise ValueError("it does not hold what was written to it")
    return Digest(stamp, size, sha256)
