"""Answers of more than one frame, read from a session: news of many runs, files."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import ProtocolError
from airflow_provider.scriptrun.targets import parse
from airflow_provider.scriptrun.targets.news import Cursor, FetchedFile, News, StreamPart

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider.scriptrun.errors import TargetError
    from airflow_provider.scriptrun.targets.session import Session
    from airflow_provider.scriptrun.targets.wake import Wake


#: What each of many runs may bring, however little of ``max_bytes`` is its part.
SHARE_BYTES = 64 * 1024


def ask_news(
    session: Session,
    request: dict[str, Any],
    asked: Mapping[str, Cursor],
    wait_s: float,
    max_bytes: int,
    wake: Wake | None = None,
) -> list[News]:
    """Send a ``poll`` and return what it brings: never more than ``max_bytes``, and nothing that was not asked for."""
    session.put(request)
    if wake is None:
        return _read_all_news(session, asked, wait_s, max_bytes)
    session.flush()
    with wake.heard_by(session.interrupt):
        return _read_all_news(session, asked, wait_s, max_bytes)


def _read_all_news(session: Session, asked: Mapping[str, Cursor], wait_s: float, max_bytes: int) -> list[News]:
    news: list[News] = []
    budget = max(max_bytes, len(asked) * min(max_bytes, SHARE_BYTES))
    while True:
        head = session.answer(wait_s=wait_s)
        if head.get("end") is True:
            session.done()
            return news
        item, used = _read_news(session, head, asked, budget)
        budget -= used
        news.append(item)


def _read_news(session: Session, head: dict[str, Any], asked: Mapping[str, Cursor], budget: int) -> tuple[News, int]:
    """Read what follows the head of one run; return it and how many bytes it took of the budget."""
    run_id = head.get("run")
    cursor = asked.get(run_id) if isinstance(run_id, str) else None
    if cursor is None:
        raise ProtocolError(f"The target speaks of the run {run_id!r:.100}, which nobody asked about")
    if head.get("error") is not None:
        return News(cursor.run_id, None, error=parse.target_error(head["error"], f"Run {run_id}")), 0
    status = parse.run_status(head.get("status"), cursor.run_id)
    parts = []
    used = 0
    for stream, offset, length, size in parse.streams(head.get("streams", {}), cursor.run_id):
        used += length
        if used > budget or offset != cursor.offsets.get(stream):
            raise ProtocolError(f"Run {run_id}: {length} bytes of {stream.value} at {offset} were not asked for")
        data = b"".join(_exactly(session.data(), length))
        if len(data) != length:
            raise ProtocolError(f"Run {run_id}: {len(data)} bytes of {stream.value} came where {length} were announced")
        parts.append(StreamPart(stream, offset, data, size))
    return News(cursor.run_id, status, tuple(parts)), used


def _exactly(chunks: Iterator[bytes], length: int) -> Iterator[bytes]:
    """Pass chunks on; a target that sends more than it announced is not believed, and not read to its end."""
    for chunk in chunks:
        length -= len(chunk)
        if length < 0:
            raise ProtocolError("The target sent more bytes than it announced")
        yield chunk


def next_file(session: Session) -> dict[str, Any]:
    """Return the head of the next file, or what stands behind the last; raise what concerns the whole request."""
    head = session.next()
    if head.get("error") is not None and "path" not in head:
        session.done()
        raise parse.target_error(head["error"], "The files cannot be fetched")
    return head


def end_of_files(session: Session, head: dict[str, Any]) -> None:
    """Hold what stands behind the last file against what should."""
    if head.get("end") is not True:
        raise ProtocolError("The target sent more files than were asked for")
    session.done()


def fetched_file(session: Session, head: dict[str, Any], path: str, offset: int) -> FetchedFile:
    """Return the file whose head has just been read; it must be ``path``, from ``offset`` on."""
    fields = parse.Fields(head, f"the head of {path}")
    if head.get("path") == path and head.get("error") is not None:
        return FetchedFile(path, 0, offset, _raise(parse.target_error(head["error"], f"{path} cannot be fetched")))
    if head.get("path") != path or fields.integer("offset") != offset:
        raise ProtocolError(
            f"The target sent {head.get('path')!r:.300} where {path!r} from byte {offset} was asked for"
        )
    size = fields.integer("size")
    return FetchedFile(path, size, offset, _verified(session, path, size - offset))


def _raise(error: TargetError) -> Iterator[bytes]:
    """Raise ``error`` when the content is asked for: the files behind this one are not affected."""
    raise error
    yield b""


def _verified(session: Session, path: str, size: int) -> Iterator[bytes]:
    """Yield the content of a file, and hold it against the size and the sha256 that the target announced."""
    digest, received = hashlib.sha256(), 0
    for chunk in _exactly(session.data(), max(size, 0)):
        digest.update(chunk)
        received += len(chunk)
        yield chunk
    tail = session.next()
    if tail.get("error") is not None:
        raise parse.target_error(tail["error"], f"{path} cannot be read to its end")
    if tail.get("sha256") != digest.hexdigest() or tail.get("bytes") != received:
        raise ProtocolError(f"{path} did not arrive as the target sent it")
    if received < size:
        raise ProtocolError(f"{path} shrank while it was read", advice="Something still writes to it; fetch it again.")
