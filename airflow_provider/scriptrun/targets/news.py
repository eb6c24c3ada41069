"""What has happened to runs since somebody looked: statuses, bytes of streams; and the files that they left."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import ConfigurationError, TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider.scriptrun.targets.status import RunStatus


class Stream(str, enum.Enum):
    """What a poll reads by offset. Append-only files on the target; offsets count bytes."""

    RUN_LOG = "run.log"  #: every byte of the script's standard output and error
    BUILD_LOG = "build.log"  #: what preparing the working copy and the environment printed
    MESSAGES = "messages.jsonl"  #: metrics and tags: one JSON value a line


@dataclass(frozen=True)
class Cursor:
    """Up to where a reader has followed a run. Small JSON (``document``), for whoever goes on after it.

    :param seen: serial of the last status that was read; -1 before the first.
    :param offsets: bytes read of each stream; a stream that is not named is not read.
    """

    run_id: str
    seen: int = -1
    offsets: Mapping[Stream, int] = field(default_factory=lambda: dict.fromkeys(Stream, 0))

    def after(self, news: News) -> Cursor:
        """Return where to go on, once ``news`` (of this run) has been dealt with."""
        offsets = dict(self.offsets)
        for part in news.parts:
            offsets[part.stream] = part.offset + len(part.data)
        return replace(self, seen=self.seen if news.status is None else news.status.serial, offsets=offsets)

    def document(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"run": self.run_id, "seen": self.seen, "offsets": {s.value: n for s, n in self.offsets.items()}}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Cursor:
        """Read what :meth:`document` made. Raises :class:`ConfigurationError`."""
        try:
            offsets = {Stream(name): _natural(value) for name, value in document["offsets"].items()}
            return cls(str(document["run"]), int(document["seen"]), offsets)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"This is no cursor: {document!r:.200}", why=repr(error)) from None


@dataclass(frozen=True)
class StreamPart:
    """Consecutive bytes of one stream.

    :param offset: of the first byte.
    :param size: of the whole stream when it was looked at: more than ``offset + len(data)`` means ask again.
    """

    stream: Stream
    offset: int
    data: bytes = field(repr=False)
    size: int

    @property
    def is_whole(self) -> bool:
        """Whether there was nothing behind it."""
        return self.offset + len(self.data) >= self.size


@dataclass(frozen=True)
class News:
    """What a poll has to say about one run: its status, read *before* its streams, and what is new in them.

    So a run is over, and all of its log read, when ``status.is_terminal`` and every part ``is_whole``.

    :param error: the target cannot speak about this run (:class:`UnknownRunError`, :class:`OtherHostError`, ...);
        there is no status then.
    """

    run_id: str
    status: RunStatus | None
    parts: tuple[StreamPart, ...] = ()
    error: TargetError | None = None

    def data(self, stream: Stream) -> bytes:
        """Return the new bytes of a stream."""
        return b"".join(part.data for part in self.parts if part.stream is stream)

    @property
    def is_last(self) -> bool:
        """Whether the run is over and nothing more will come from its streams."""
        return self.status is not None and self.status.is_terminal and all(part.is_whole for part in self.parts)


@dataclass(frozen=True)
class RemoteFile:
    """A regular file of a run that can be fetched. Its path is relative, with ``/``, and never leaves the run's folder.

    Paths: ``outputs/...``, ``logs/...``, ``run.log``, ``build.log``, ``messages.jsonl``, ``packages.txt``.
    A name that is not UTF-8 holds lone surrogates (PEP 383).

    :param sha256: of its content when it was listed; empty when that was not asked for.
    """

    path: str
    size: int
    sha256: str
    executable: bool = False


@dataclass(frozen=True)
class Listing:
    """What ``files`` says: iterate over it for the files.

    :param skipped: the first hundred of what cannot be fetched: path -> why (a link that leaves, no permission, ...).
    :param skipped_count: how many there are in all.
    """

    files: tuple[RemoteFile, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    skipped_count: int = 0

    def __iter__(self) -> Iterator[RemoteFile]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True)
class FetchedFile:
    """One file on its way. ``chunks`` is to be read to its end before the next file is asked for.

    :param size: of the whole file when it was opened.
    :param offset: where ``chunks`` begin.
    :param chunks: the bytes. Raises :class:`TargetError` when the file cannot be read (any more), at the end
        :class:`ProtocolError` when what came is not what the target says that it sent.
    """

    path: str
    size: int
    offset: int
    chunks: Iterator[bytes] = field(repr=False)


def _natural(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no number of bytes")
    return value
