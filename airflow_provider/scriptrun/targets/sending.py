"""A snapshot on its way: its manifest as a change of one that the target has, then the blobs that are missing there.

What is read, hashed and compressed is so in a thread of its own, a few chunks ahead of what is written to the link.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import ProtocolError, SnapshotChangedError, TargetUnreachableError
from airflow_provider.scriptrun.supervisor.protocol import delta, manifest, ranges
from airflow_provider.scriptrun.targets import parse
from airflow_provider.scriptrun.targets.ahead import Ahead
from airflow_provider.scriptrun.targets.pace import Packer
from airflow_provider.scriptrun.targets.request import Sent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider.scriptrun.targets.request import Progress, SnapshotSource
    from airflow_provider.scriptrun.targets.session import Session
    from airflow_provider.scriptrun.targets.starting import Starting

#: What travels in one frame: a larger one is no faster, and a broken connection loses up to so much.
CHUNK_BYTES = 256 * 1024
#: Chunks that are made ahead of the link.
ROOM = 16
#: Less than this is made where it is written: a thread would take longer.
ALONE_BYTES = CHUNK_BYTES


class Sending:
    """One snapshot's way to one target. Called with a session; with another one where that broke, it goes on.

    :param host: for messages.
    :param base: the manifest of a snapshot that the target has, if one is known.
    :param then: given what has been sent, returns the start that follows in the same flight; called when all of it is
        on its way.
    """

    def __init__(
        self,
        snapshot: SnapshotSource,
        host: str,
        *,
        base: bytes | None = None,
        progress: Progress | None = None,
        then: Callable[[Sent], Starting] | None = None,
    ) -> None:
        self._snapshot, self._host, self._base = snapshot, host, base
        self._progress, self._then = progress, then
        self._packer = Packer()
        self._sender = uuid.uuid4().hex  #: tells the target that it is this one again, on another connection
        self._before: tuple[int, int] | None = None  #: blobs and bytes that were missing when it was first offered

    def __call__(self, session: Session) -> Sent:
        """Bring what is missing, and start what follows. Raises what :meth:`ComputeTarget.send` does."""
        began = session.written
        missing = self._offer(session)
        total = sum(self._blobs[number][1] for number in missing)
        if self._before is None:
            self._before = len(missing), total
        sent = Sent(*self._before)
        if missing:
            self._put(session, missing, total)
        start = self._then(sent) if self._then is not None else None
        if start is not None:
            start.put(session)
        if missing:
            try:
                self._verify(session)
            except BaseException:
                session.broken = session.broken or start is not None  # its answer is still to come
                raise
        started = start.answer(session) if start is not None else None
        return replace(sent, wire_bytes=session.written - began, started=started)

    @cached_property
    def _blobs(self) -> list[tuple[str, int]]:
        return list(manifest.blobs_of(self._snapshot.entries).items())

    def _offer(self, session: Session) -> list[int]:
        """Return the numbers of the blobs that the target lacks."""
        whole = self._snapshot.manifest
        offer = {"op": "offer", "snapshot": self._snapshot.id, "sender": self._sender}
        if self._base is not None:
            change = delta.encode(self._base, whole)
            if len(change) < len(whole):
                base = manifest.snapshot_id(self._base)
                missing = self._ask(session, {**offer, "base": base}, change)
                if missing is not None:
                    return missing
            self._base = None  # it went away, or was damaged
        missing = self._ask(session, offer, whole)
        if missing is None:
            raise ProtocolError(f"{self._host} does not say what it lacks of a snapshot that it knows all of")
        return missing

    def _ask(self, session: Session, offer: dict[str, str], data: bytes) -> list[int] | None:
        session.put(offer)
        chunks = (data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))
        session.put_data(self._packer.paced(self._packer.pack(chunk) for chunk in chunks))
        session.flush()
        total = len(self._blobs)  # while it travels
        missing = parse.missing(session.in_turn(), total)
        session.done()
        return missing

    def _put(self, session: Session, missing: list[int], total: int) -> None:
        session.put({"op": "send", "snapshot": self._snapshot.id, "blobs": ranges.encode(missing)})
        packed = ((self._packer.pack(chunk), len(chunk)) for chunk in self._contents(missing))
        if total <= ALONE_BYTES:
            session.put_data(self._packer.paced(self._told(packed, total)))
        else:
            with Ahead(packed, ROOM) as ahead:
                session.put_data(self._packer.paced(self._told(ahead, total)))

    def _contents(self, missing: list[int]) -> Iterator[bytes]:
        """Yield the contents of the blobs in chunks, small ones together."""
        parts: list[bytes] = []
        held = whole = 0
        try:
            for number in missing:
                whole = len(parts)
                for piece in self._content(*self._blobs[number]):
                    held += len(piece)
                    parts.append(piece)
                    if held >= CHUNK_BYTES:
                        yield b"".join(parts)
                        parts, held, whole = [], 0, 0
        except GeneratorExit:
            raise
        except BaseException:
            yield b"".join(parts[:whole])  # the blobs before it need not be sent again
            raise
        yield b"".join(parts)

    def _content(self, sha256: str, size: int) -> Iterator[bytes]:
        left = size
        for piece in self._snapshot.open_blob(sha256):
            left -= len(piece)
            yield piece
        if left:
            raise SnapshotChangedError(f"The file with the sha256 {sha256} has another length now")

    def _told(self, packed: Iterable[tuple[bytes, int]], total: int) -> Iterator[bytes]:
        """Yield chunks, and tell of each that it was sent."""
        whole = self._before[1] if self._before is not None else total
        sent = whole - total  # before the connection broke
        for chunk, length in packed:
            yield chunk
            sent += length
            if self._progress is not None and length:
                self._progress(sent, whole)

    def _verify(self, session: Session) -> None:
        """Read what the target says of the blobs."""
        answer = parse.Fields(session.answer(), "what it received")
        session.done()
        if not answer.flag("complete"):
            raise TargetUnreachableError(
                f"{self._host} lacks a part of the snapshot again",
                advice="Something removed it meanwhile; the same call may go through later.",
            )
