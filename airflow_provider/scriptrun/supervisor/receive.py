"""A snapshot arrives: its manifest is offered, then the blobs that are missing here are sent.

Both operations are followed by data. What is refused with an exception therefore ends the session (``serve``), after
its error has been written: a sender that finds the pipe closed reads what was answered to learn why. What arrived
whole before that stays: offered again, it is not missing any more.
"""

from __future__ import annotations

import hashlib

from . import blobs, store
from .layout import check_sha256
from .protocol import frames
from .protocol import manifest as manifests
from .refusal import BAD_REQUEST, DAMAGED, Refusal

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List

    from .serve import Channel

#: So many damaged blobs are named in the answer; more than one already means that the line or the sender is broken.
NAMED_DAMAGED = 20


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
    layout.make_root()
    with store.shared(layout):
        missing = blobs.missing(layout, blobs.blobs_of(entries))
        store.put_manifest(layout, snapshot_id, data, complete=not missing)
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
    then ``{"done": true}``. There is one answer, after that: ``{"received": blobs, "bytes": their sizes,
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
        wanted = blobs.blobs_of(manifests.decode(manifest))
        arrivals = _Arrivals(wanted)
        with blobs.BlobWriter(layout) as writer:
            arrivals.receive(channel.reader, writer)
        complete = _complete(channel, snapshot_id, wanted)
    answer: Dict[str, Any] = {"received": arrivals.count, "bytes": arrivals.bytes, "complete": complete}
    if arrivals.damaged:
        names = arrivals.damaged[:NAMED_DAMAGED]
        message = "%d of the blobs of %s arrived damaged: %s" % (len(arrivals.damaged), snapshot_id, ", ".join(names))
        answer["damaged"] = names
        answer["error"] = Refusal(DAMAGED, message, "Offer the snapshot again: only they are missing.").document()
    channel.writer.json(answer)


def _complete(channel: Channel, snapshot_id: str, wanted: Iterable[str]) -> bool:
    with store.shared(channel.layout):
        if blobs.missing(channel.layout, wanted):
            return False
        store.complete_snapshot(channel.layout, snapshot_id)
    return True


class _Arrivals:
    """What has arrived in one ``send``."""

    def __init__(self, wanted: Dict[str, int]) -> None:
        self.count = 0
        self.bytes = 0
        self.damaged: List[str] = []
        self._wanted = wanted

    def receive(self, reader: frames.FrameReader, writer: blobs.BlobWriter) -> None:
        """Keep blobs until the sender is done. Raises ``FrameError`` when the stream ends before that."""
        while True:
            header = reader.json()
            if header is None:
                raise frames.FrameError("the stream ended before the last blob")
            if header.get("done"):
                return
            sha256, size = header.get("blob"), header.get("size")
            if not isinstance(sha256, str) or self._wanted.get(sha256, -1) != size:
                raise Refusal(BAD_REQUEST, "%.100r of %.20r bytes is no blob of this snapshot" % (sha256, size))
            self._receive_one(sha256, self._wanted[sha256], reader, writer)

    def _receive_one(self, sha256: str, size: int, reader: frames.FrameReader, writer: blobs.BlobWriter) -> None:
        chunks = reader.data()
        try:
            writer.add(sha256, size, chunks)
        except blobs.DamagedBlobError:
            self.damaged.append(sha256)
            for _ in chunks:
                pass  # the stream goes on behind the damaged blob
        else:
            self.count += 1
            self.bytes += size
