"""A place on a file system of fsspec's: what is listed there, and its bytes."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ..errors import SnapshotChangedError, SnapshotError
from .naming import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .digests import Digest

#: How far a file is read ahead, and how much of it is held at a time.
READ_AHEAD_BYTES = 4 * 1024 * 1024
PIECE_BYTES = 1024 * 1024
#: What stands for the content of a file, on one file system or another, whenever it was written.
_TAGS = ("ETag", "etag", "Content-MD5", "md5Hash", "content_md5", "generation")
#: A tag that stands for content of the same meaning only (RFC 9110, 8.8.1).
_WEAK_TAG = "W/"
#: When it was written: tells of a change only together with the size.
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "modificationTime", "modify")
#: Where times are whole seconds, or two of them, another write within one does not show.
SETTLED_SECONDS = 5.0


@dataclass(frozen=True)
class Found:
    """A file as a listing has it."""

    size: int | None  #: bytes; ``None`` where only reading tells
    stamp: str  #: what tells that it is the same still; empty: nothing does
    is_settled: bool = True  #: whether another write from now on would show in the stamp

    def is_still(self, digest: Digest) -> bool:
        """Whether it surely holds what was read of it once."""
        return bool(self.stamp) and self.stamp == digest.stamp and self.size in (None, digest.size)

    def looks_like(self, before: Found, read: int) -> bool:
        """Whether it looks as it did before ``read`` bytes were read of it, and these are all."""
        return self.stamp == before.stamp and self.size in (None, read) and before.size in (None, read)


@dataclass(frozen=True)
class Address:
    """A file or a folder behind a URL."""

    file_system: Any  #: fsspec's
    path: str  #: on it
    name: str  #: for messages: the URL without credentials
    secrets: tuple[str, ...] = field(default=(), repr=False)  #: what no message may show

    def look(self) -> dict[str, Found]:
        """Return what is there now: the path of each file below the folder; of a file that is no folder, ``""``.

        Raises ``SnapshotError``: nothing is there, it cannot be listed, or holds what is neither file nor folder.
        """
        with self._explained("", "listed"):
            self.file_system.invalidate_cache()
            facts = self.file_system.info(self.path)
            if facts["type"] == "file":
                return {"": found(facts)}
            listing = self.file_system.find(self.path, detail=True)
        prefix = self._root + "/"
        files = {}
        for path, facts in listing.items():
            relative = path.removeprefix(prefix)
            if path.endswith("/") or path == self._root:
                continue  # what some programs put there to stand for an empty folder
            if facts["type"] != "file":
                kind = facts["type"]
                raise SnapshotError(f"{self.shown(relative)} is no file but a {kind}, and cannot be part of a snapshot")
            files[relative] = found(facts)
        return files

    def read(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of a file that was listed. Raises ``SnapshotError``, by name."""
        with self._explained(path, "read"):
            file = self.file_system.open(
                f"{self._root}/{path}" if path else self.path,
                "rb",
                block_size=READ_AHEAD_BYTES,
                cache_type="readahead",
            )
        with closing(file):
            while True:
                with self._explained(path, "read"):
                    piece = bytes(file.read(PIECE_BYTES))
                if not piece:
                    return
                yield piece

    def shown(self, path: str) -> str:
        """Return how a message names a file that was listed."""
        return shown(f"{self.name}/{path}" if path else self.name)

    @property
    def _root(self) -> str:
        return str(self.file_system._strip_protocol(self.path)).rstrip("/")

    @contextmanager
    def _explained(self, path: str, done: str) -> Iterator[None]:
        # Every file system has errors of its own; botocore's, for one, are no OSError.
        try:
            yield
        except FileNotFoundError as error:
            if done == "read":
                raise SnapshotChangedError(f"{self.shown(path)} was there, and then was not") from self._cause(error)
            raise SnapshotError(f"There is nothing at {self.shown(path)}") from self._cause(error)
        except Exception as error:  # noqa: BLE001  (and raised again)
            why = without(self.secrets, str(error) or type(error).__name__)
            raise SnapshotError(f"{self.shown(path)} cannot be {done}", why=why) from self._cause(error)

    def _cause(self, error: Exception) -> Exception | None:
        return None if self.secrets else error  # its text may hold them, and is shown with ours


def without(secrets: Iterable[str], text: str) -> str:
    """Return a text of a file system's with none of the secrets in it."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def found(facts: Mapping[str, Any]) -> Found:
    """Return what the facts that a file system lists about a file say of its content."""
    size = None if facts.get("size") is None else int(facts["size"])
    tags = [str(facts[name]) for name in _TAGS if facts.get(name) not in (None, "")]
    strong = [tag for tag in tags if not tag.startswith(_WEAK_TAG)]
    if strong:
        return Found(size, f"{' '.join(strong)} {size}")
    moment = next((seconds for name in _TIMES if (seconds := _seconds(facts.get(name))) is not None), None)
    if moment is None or size is None:
        return Found(size, "")
    return Found(
        size, f"{moment!r} {size}", is_settled=datetime.now(timezone.utc).timestamp() - moment > SETTLED_SECONDS
    )


def _seconds(moment: Any) -> float | None:
    """Return a time in seconds since the epoch; ``None`` for what is no time that we can read."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment.replace("Z", "+00:00"))
        except ValueError:
            return None
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    return float(moment) if isinstance(moment, (int, float)) and not isinstance(moment, bool) else None
