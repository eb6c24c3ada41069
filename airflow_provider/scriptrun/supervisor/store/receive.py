"""A snapshot arrives: its manifest is offered, then the blobs that are missing here are sent.

Both operations are followed by data. What is refused with an exception therefore ends the session (``serve``), after
its error has been written: a sender that finds the pipe closed reads what was answered to learn why. What arrived
whole before that stays: offered again, it is not missing any more.
"""

from __future__ import annotations

from .. import store, turn
from ..layout import check_sha256
from ..protocol import manifest as manifests
from ..protocol import ranges
from ..protocol.frames import FrameError
from ..refusal import BAD_REQUEST, DAMAGED, Refusal
from . import blobs

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Set, Tuple, Union

    from ..layout import Layout
    from ..protocol.frames import FrameReader
    from ..serve import Channel

    Blob = Tuple[str, int]

#: So many damaged blobs are named in the answer; more than one already means that the line or the sender is broken.
NAMED_DAMAGED = 20
#: Blobs up to this size are held in memory while they arrive: they are verified before they are written.
SMALL_BYTES = 1024 * 1024

#: Of this session's last offer, by its snapshot id, which can mean nothing else: all blobs, and the places of those
#: that were missing. They need not be looked at again.
_offered: Dict[str, Tuple[List[Blob], List[int]]] = {}


def offer(request: Dict[str, Any], channel: Channel) -> None:
    """Answer which blobs of a snapshot are missing here.

    ``{"op": "offer", "snapshot": id}``, the manifest's bytes as data, the end frame; answered by ``{"missing":
    [[first, count], ...]}``: places among the blobs of the manifest (``manifest.blobs_of``). None missing means that
    the snapshot is complete and may be started. Refused with ``damaged`` when the bytes are not those that ``id``
    names, with ``bad_request`` when they are no manifest, or one that cannot be a tree. The offer is remembered:
    ``send`` refers to it.

    With ``"base": id of another snapshot``, the data are what turns its manifest into this one (``protocol.delta``).
    ``{"missing": null}`` then means that this did not go, and the manifest is to be offered whole.

    While another ``"sender"`` sends the same snapshot, this one waits, and says ``{"waiting": true}`` from time to
    time: what the other has sent is not missing any more.
    """
    snapshot_id = check_sha256(request.get("snapshot"))
    base = request.get("base")
    data = _all(channel.reader, snapshot_id)
    layout = channel.layout
    turn.leave_all()  # what this session did not come to send
    if base is not None:
        changed = _rebuilt(layout, check_sha256(base), data, snapshot_id)
        if changed is None:
            channel.writer.json({"missing": None})
            return
        data = changed
    elif manifests.snapshot_id(data) != snapshot_id:
        found = manifests.snapshot_id(data)
        raise Refusal(DAMAGED, "The manifest of %s arrived with other content: its sha256 is %s" % (snapshot_id, found))
    if store.has_snapshot(layout, snapshot_id):
        channel.writer.json({"missing": []})
        return
    try:
        wanted = manifests.blobs_of(manifests.decode(data))
    except manifests.ManifestError as error:
        raise Refusal(BAD_REQUEST, "The manifest of %s cannot be used: %s" % (snapshot_id, error)) from None
    lacking = _lacking(layout, snapshot_id, data, wanted)
    if lacking:
        has_waited = turn.take(layout.turn(snapshot_id), request.get("sender"), lambda: _say_that_it_waits(channel))
        if store.has_snapshot(layout, snapshot_id):
            lacking = set()
        elif has_waited:
            lacking = _lacking(layout, snapshot_id, data, wanted)
        if not lacking:
            turn.leave_all()
    places = [place for place, sha256 in enumerate(wanted) if sha256 in lacking]
    _offered.clear()
    _offered[snapshot_id] = (list(wanted.items()), places)
    channel.writer.json({"missing": ranges.encode(places)})


def _lacking(layout: Layout, snapshot_id: str, manifest: bytes, wanted: Dict[str, int]) -> Set[str]:
    """Return the blobs that are missing here; keep the manifest, as a snapshot's when there are none."""
    with store.shared(layout):
        lacking = set(blobs.missing(layout, wanted))
        store.put_manifest(layout, snapshot_id, manifest, complete=not lacking)
    return lacking


def _say_that_it_waits(channel: Channel) -> None:
    channel.writer.json({"waiting": True})
    channel.writer.flush()


def _all(reader: FrameReader, snapshot_id: str) -> bytes:
    chunks: List[bytes] = []
    size = 0
    for chunk in reader.data():
        size += len(chunk)
        if size > manifests.MAX_MANIFEST_BYTES:
            limit = manifests.MAX_MANIFEST_BYTES
            raise Refusal(BAD_REQUEST, "The manifest of %s is longer than the %d bytes allowed" % (snapshot_id, limit))
        chunks.append(chunk)
    return b"".join(chunks)


def _rebuilt(layout: Layout, base: str, change: bytes, snapshot_id: str) -> Optional[bytes]:
    """Return the manifest that ``change`` makes of the one of ``base``; ``None`` when it does not make this one."""
    from ..protocol import delta

    with store.hold_manifest(layout, base, offered=False) as manifest:
        if manifest is None:
            return None
        try:
            made = delta.apply(manifest, change)
        except delta.DeltaError:
            return None
    return made if manifests.snapshot_id(made) == snapshot_id else None


def send(request: Dict[str, Any], channel: Channel) -> None:
    """Receive blobs of a snapshot that was offered.

    ``{"op": "send", "snapshot": id, "blobs": [[first, count], ...]}`` with places as ``offer`` has them, the contents
    of these blobs one after the other as data in chunks of any length, the end frame. There is one answer, at the end:
    ``{"received": blobs, "bytes": their sizes, "complete": whether the snapshot may be started now}``.

    Each blob is verified as it arrives. A damaged one is not kept, the others are; the answer is then an ``error`` of
    code ``damaged`` that names them, with ``received``, ``bytes``, ``complete`` and ``"damaged": [sha256, ...]`` (the
    first 20) beside it. A snapshot that was not offered, places that it does not have, more or less data than these
    blobs are, a full disk: an exception, which ends the session (see above).
    """
    layout = channel.layout
    snapshot_id = check_sha256(request.get("snapshot"))
    with store.hold_manifest(layout, snapshot_id, offered=True) as manifest:
        if manifest is None:
            raise Refusal(BAD_REQUEST, "The snapshot %s was not offered here" % snapshot_id, "Offer it, then send.")
        if snapshot_id in _offered:
            everything, lacking = _offered[snapshot_id]
        else:
            everything = list(manifests.blobs_of(manifests.decode(manifest)).items())
            lacking = list(range(len(everything)))
        try:
            places = ranges.decode(request.get("blobs"), len(everything))
        except ranges.RangesError as error:
            raise Refusal(BAD_REQUEST, "These are no blobs of %s: %s" % (snapshot_id, error)) from None
        coming = [everything[place] for place in places]
        path = layout.turn(snapshot_id)
        damaged = _receive(coming, channel.reader, layout, path)
        arrived = set(places).difference([place for place in places if everything[place][0] in damaged])
        with store.shared(layout):
            complete = not blobs.missing(layout, dict([everything[place] for place in lacking if place not in arrived]))
            if complete:
                store.complete_snapshot(layout, snapshot_id)
        turn.leave(path)
    answer: Dict[str, Any] = {
        "received": len(arrived),
        "bytes": sum([everything[place][1] for place in arrived]),
        "complete": complete,
    }
    if damaged:
        names = damaged[:NAMED_DAMAGED]
        message = "%d of the blobs of %s arrived damaged: %s" % (len(damaged), snapshot_id, ", ".join(names))
        answer["damaged"] = names
        answer["error"] = Refusal(DAMAGED, message, "Offer the snapshot again: only they are missing.").document()
    channel.writer.json(answer)


def _receive(coming: List[Blob], reader: FrameReader, layout: Layout, path: str) -> List[str]:
    """Keep the blobs that arrive; return those that arrived damaged."""
    damaged: List[str] = []
    contents = _Contents(_noted(reader.data(), path))
    with blobs.BlobWriter(layout) as writer:
        for sha256, size in coming:
            try:
                if size <= SMALL_BYTES:
                    writer.add_whole(sha256, contents.take(size))
                else:
                    writer.add(sha256, size, contents.pieces(size))
            except blobs.DamagedBlobError:
                damaged.append(sha256)
    contents.end()
    return damaged


def _noted(chunks: Iterator[bytes], path: str) -> Iterator[bytes]:
    """Yield the chunks, and let those who wait see that they come."""
    for chunk in chunks:
        turn.go_on(path)
        yield chunk


class _Contents:
    """The contents of many blobs, one after the other, however they are cut into chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = memoryview(b"")
        self._position = 0

    def take(self, size: int) -> Union[bytes, memoryview]:
        """Return the next ``size`` bytes. Raises ``FrameError`` when the data end before."""
        start, end = self._position, self._position + size
        if end <= len(self._chunk):
            self._position = end
            return self._chunk[start:end]
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield the next ``size`` bytes as they come."""
        while size > 0:
            if self._position == len(self._chunk):
                self._chunk, self._position = memoryview(self._next()), 0
            piece = self._chunk[self._position : self._position + size]
            self._position += len(piece)
            size -= len(piece)
            yield piece

    def end(self) -> None:
        """Raise ``Refusal`` unless the data ended with the last blob."""
        if self._position < len(self._chunk) or next(self._chunks, None) is not None:
            raise Refusal(BAD_REQUEST, "More came than the blobs that were announced")

    def _next(self) -> bytes:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise FrameError("the data ended before the last blob")
        return chunk
