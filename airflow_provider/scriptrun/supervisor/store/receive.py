"""A snapshot arrives: its manifest is offered, then the blobs that are missing here are sent.

Both operations are followed by data. What is refused with an exception therefore ends the session (``serve``), after
its error has been written: a sender that finds the pipe closed reads what was answered to learn why. What arrived
whole before that stays: offered again, it is not missing any more.
"""

from __future__ import annotations

import hashlib

from .. import store
from ..layout import check_sha256
from ..protocol import frames
from ..protocol import manifest as manifests
from ..refusal import BAD_REQUEST, DAMAGED, Refusal
from . import blobs

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set, Tuple

    from ..serve import Channel

#: So many damaged blobs are named in the answer; more than one already means that the line or the sender is broken.
NAMED_DAMAGED = 20
#: A batch of small blobs is held in memory while it arrives.
MAX_BATCH_BYTES = 4 * 1024 * 1024

#: The blobs of this session's last offer, by its snapshot id, which can mean nothing else: they need not be read again.
_offered: Dict[str, Dict[str, int]] = {}


def offer(request: Dict[str, Any], channel: Channel) -> None:
    """Answer which blobs of a snapshot are missing here.

    ``{"op": "offer", "snapshot": id}``, the manifest's bytes as data frames, the end frame; answered by
    ``{"missing": [sha256, ...]}`` in the manifest's order, each once. None missing means that the snapshot is complete
    and may be started. Refused with ``damaged`` when the bytes are not those that ``id`` names, with ``bad_request``
    when they are no manifest, or one that cannot be a tree. The offer is remembered: ``send`` refers to it.
    """
    snapshot_id = check_sha256(request.get("snapshot"))
    data = _manifest(snapshot_id, channel.reader)
    layout = channel.layout
    if store.has_snapshot(layout, snapshot_id):
        channel.writer.json({"missing": []})
        return
    try:
        entries = manifests.decode(data)
    except manifests.ManifestError as error:
        raise Refusal(BAD_REQUEST, "The manifest of %s cannot be used: %s" % (snapshot_id, error)) from None
    wanted = blobs.blobs_of(entries)
    with store.shared(layout):
        missing = blobs.missing(layout, wanted)
        store.put_manifest(layout, snapshot_id, data, complete=not missing)
    _offered.clear()
    _offered[snapshot_id] = wanted
    channel.writer.json({"missing": missing})


def _manifest(snapshot_id: str, reader: frames.FrameReader) -> bytes:
    digest = hashlib.sha256()
    chunks: List[bytes] = []
    size = 0
    for chunk in reader.data():
        size += len(chunk)
        if size > manifests.MAX_MANIFEST_BYTES:
            limit = manifests.MAX_MANIFEST_BYTES
            raise Refusal(BAD_REQUEST, "The manifest of %s is longer than the %d bytes allowed" % (snapshot_id, limit))
        digest.update(chunk)
        chunks.append(chunk)
    found = digest.hexdigest()
    if found != snapshot_id:
        raise Refusal(DAMAGED, "The manifest of %s arrived with other content: its sha256 is %s" % (snapshot_id, found))
    return b"".join(chunks)


def send(request: Dict[str, Any], channel: Channel) -> None:
    """Receive blobs of a snapshot that was offered.

    ``{"op": "send", "snapshot": id}``; for each blob ``{"blob": sha256, "size": bytes}``, data frames, the end frame;
    then ``{"done": true}``. Instead of one blob there may be many small ones at once, which takes much less time:
    ``{"blobs": [[sha256, size], ...]}`` (at most 4 MiB in all), their contents one after the other as data frames of
    any length, the end frame. There is one answer, at the end: ``{"received": blobs, "bytes": their sizes,
    "complete": whether the snapshot may be started now}``.

    Each blob is verified as it arrives. A damaged one is not kept, the others are; the answer is then an ``error`` of
    code ``damaged`` that names them, with ``received``, ``bytes``, ``complete`` and ``"damaged": [sha256, ...]`` (the
    first 20) beside it. A snapshot that was not offered, a blob that is not its, a full disk: an exception, which ends
    the session (see above).
    """
    layout = channel.layout
    snapshot_id = check_sha256(request.get("snapshot"))
    with store.hold_manifest(layout, snapshot_id, offered=True) as manifest:
        if manifest is None:
            raise Refusal(BAD_REQUEST, "The snapshot %s was not offered here" % snapshot_id, "Offer it, then send.")
        wanted = _offered.get(snapshot_id) or blobs.blobs_of(manifests.decode(manifest))
        with blobs.BlobWriter(layout) as writer:
            arrivals = _Arrivals(wanted, channel.reader, writer)
            arrivals.receive()
        with store.shared(layout):
            rest = {sha256: size for sha256, size in wanted.items() if sha256 not in arrivals.kept}
            complete = not blobs.missing(layout, rest)
            if complete:
                store.complete_snapshot(layout, snapshot_id)
    answer: Dict[str, Any] = {"received": len(arrivals.kept), "bytes": arrivals.bytes, "complete": complete}
    if arrivals.damaged:
        names = arrivals.damaged[:NAMED_DAMAGED]
        message = "%d of the blobs of %s arrived damaged: %s" % (len(arrivals.damaged), snapshot_id, ", ".join(names))
        answer["damaged"] = names
        answer["error"] = Refusal(DAMAGED, message, "Offer the snapshot again: only they are missing.").document()
    channel.writer.json(answer)


class _Arrivals:
    """What has arrived in one ``send``."""

    def __init__(self, wanted: Dict[str, int], reader: frames.FrameReader, writer: blobs.BlobWriter) -> None:
        self.kept: Set[str] = set()
        self.bytes = 0
        self.damaged: List[str] = []
        self._wanted = wanted
        self._reader = reader
        self._writer = writer

    def receive(self) -> None:
        """Keep blobs until the sender is done. Raises ``FrameError`` when the stream ends before that."""
        while True:
            header = self._reader.json()
            if header is None:
                raise frames.FrameError("the stream ended before the last blob")
            if "blobs" in header:
                self._receive_many(header["blobs"])
            elif "blob" in header:
                self._receive_one(header["blob"], header.get("size"))
            elif header.get("done"):
                return
            else:
                raise Refusal(BAD_REQUEST, "Blobs were expected, not %.200r" % (header,))

    def _size(self, sha256: object, size: object) -> int:
        """Return the size that both the header and the manifest give."""
        wanted = self._wanted.get(sha256) if isinstance(sha256, str) else None
        if wanted is None or wanted != size:
            raise Refusal(BAD_REQUEST, "%.100r of %.20r bytes is no blob of this snapshot" % (sha256, size))
        return wanted

    def _receive_one(self, sha256: str, announced: object) -> None:
        size = self._size(sha256, announced)
        try:
            self._writer.add(sha256, size, self._reader.data())
        except blobs.DamagedBlobError:
            self.damaged.append(sha256)
        else:
            self.kept.add(sha256)
            self.bytes += size

    def _receive_many(self, named: object) -> None:
        if not isinstance(named, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in named):
            raise Refusal(BAD_REQUEST, "Pairs of sha256 and size were expected, not %.200r" % (named,))
        sizes = [self._size(*pair) for pair in named]
        total = sum(sizes)
        if total > MAX_BATCH_BYTES:
            raise Refusal(BAD_REQUEST, "%d bytes are too many for one batch of blobs" % total)
        data, broken = self._read(total)
        position = 0
        for (sha256, _), size in zip(named, sizes):
            piece = data[position : position + size]
            position += size
            if broken and len(piece) < size:
                break
            try:
                self._writer.add_whole(sha256, piece)
            except blobs.DamagedBlobError:
                self.damaged.append(sha256)
            else:
                self.kept.add(sha256)
                self.bytes += size
        if broken:
            raise broken

    def _read(self, size: int) -> Tuple[memoryview, Optional[frames.FrameError]]:
        """Return the data up to the end frame, as much of it as was announced, and what ended the stream before it."""
        chunks = []
        broken = None
        try:
            for chunk in self._reader.data():
                if size > 0:
                    chunks.append(chunk)
                size -= len(chunk)
        except frames.FrameError as error:
            broken = error
        return memoryview(b"".join(chunks)), broken
