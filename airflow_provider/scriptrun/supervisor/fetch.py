"""What a run leaves behind, listed and sent. Which files that are: see ``run_files``.

A path on the wire is relative to the run, with ``/`` between its parts: ``outputs/model.pt``, ``logs/a/b.txt``,
``run.log``, ``build.log``, ``messages.jsonl``, ``packages.txt``. It is UTF-8, with lone surrogates for what is not
(PEP 383), which JSON escapes.
"""

from __future__ import annotations

import hashlib
import os
import time

from .protocol.atomic import write_atomic
from .refusal import BAD_REQUEST, DAMAGED, Refusal
from .run_files import NotAFileError, RunFiles, UnreadableError, encoded, read

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple

    from .protocol.frames import FrameWriter
    from .serve import Channel

#: So many files are named in one frame of a list: a frame's size is bounded, a run's outputs are not.
LISTED_PER_FRAME = 10000
#: Whoever waits for a list that takes long must be able to tell that from a dead connection.
SILENCE_S = 10.0


def list_files(request: Dict[str, Any], channel: Channel) -> None:
    """Answer which files of a run can be fetched.

    ``{"op": "list", "run": id, "hash": true}``, answered by one frame, or by several where there are many files: each
    but the last holds ``{"files": [FILE, ...], "more": true}``, the last ``{"files": [FILE, ...], "count": files,
    "bytes": their sizes, "skipped": {"count": n, "paths": [{"path", "reason"}, ...]}}`` (the first 100 are named).
    FILE is ``{"path", "size", "sha256", "executable"}``. ``"hash": false`` leaves ``sha256`` null: hashing reads every
    file (about a second for each GB; meanwhile a frame, of no files if need be, comes at least every ten seconds, or as
    often as the disk gives 64 KiB). Size and sha256 belong together even if the file is written to meanwhile: both
    are of what was there when it was opened.
    """
    answer = _List(channel.writer)
    on_chunk = None if request.get("hash", True) is False else answer.say_something
    with RunFiles(channel.layout, request.get("run")) as files:
        for path, name, folder in files:
            fact = files.describe(path, name, folder, on_chunk)
            if fact is not None:
                answer.add(fact)
        answer.end(files)


class _List:
    """The answer to ``list``, in as many frames as it takes."""

    def __init__(self, writer: FrameWriter) -> None:
        self._writer = writer
        self._files: List[Dict[str, Any]] = []
        self._count = self._bytes = 0
        self._said = time.monotonic()

    def add(self, fact: Dict[str, Any]) -> None:
        self._files.append(fact)
        self._count += 1
        self._bytes += fact["size"]
        if len(self._files) == LISTED_PER_FRAME:
            self._say()

    def say_something(self) -> None:
        if time.monotonic() - self._said > SILENCE_S:
            self._say()

    def _say(self) -> None:
        self._writer.json({"files": self._files, "more": True})
        self._writer.flush()
        self._files = []
        self._said = time.monotonic()

    def end(self, files: RunFiles) -> None:
        skipped = {"count": files.skipped_count, "paths": files.skipped}
        self._writer.json({"files": self._files, "count": self._count, "bytes": self._bytes, "skipped": skipped})


def fetch(request: Dict[str, Any], channel: Channel) -> None:
    """Send files of a run.

    ``{"op": "fetch", "run": id, "paths": [path or {"path": path, "offset": bytes}, ...], "collected": false}``.
    For each path, in this order: ``{"path", "offset", "size"}`` (size of the whole file when it was opened), data
    frames from the offset on, the end frame, and ``{"path", "bytes", "sha256"}``: how many bytes were sent, fewer than
    ``size - offset`` only if the file shrank meanwhile, and the sha256 of exactly these bytes (so of the whole file
    when the offset is 0). A path that cannot be sent is answered by ``{"path", "error": {...}}`` alone; if reading
    fails on the way, that stands in the place of the closing frame. At the end of all ``{"end": true}``.

    ``"collected": true`` (``paths`` may be empty) says that its sender has stored all that it wants of this run: the
    cleaner may remove the run then before it reaches its greatest age. Say so once the run is over and stored.
    """
    paths = request.get("paths")
    if not isinstance(paths, list):
        raise Refusal(BAD_REQUEST, "fetch needs a list of paths, not %.100r" % (paths,))
    with RunFiles(channel.layout, request.get("run")) as files:
        for wanted in paths:
            path, offset = _wanted(wanted)
            _answer(path, offset, files, channel.writer)
    if request.get("collected"):
        write_atomic(channel.layout.run(request["run"]).collected, b"")
    channel.writer.json({"end": True})


def _wanted(wanted: object) -> Tuple[str, int]:
    path, offset = (wanted.get("path"), wanted.get("offset", 0)) if isinstance(wanted, dict) else (wanted, 0)
    if not isinstance(path, str) or type(offset) is not int or offset < 0:
        raise Refusal(BAD_REQUEST, "fetch needs paths, or objects of path and offset, not %.200r" % (wanted,))
    return path, offset


def _answer(path: str, offset: int, files: RunFiles, writer: FrameWriter) -> None:
    try:
        _send(path, offset, files, writer)
    except Refusal as refusal:
        writer.json({"path": path, "error": refusal.document()})


def _send(path: str, offset: int, files: RunFiles, writer: FrameWriter) -> None:
    try:
        file = files.open(encoded(path))
    except (NotAFileError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Refusal(BAD_REQUEST, "%.300r of this run cannot be fetched: %s" % (path, reason)) from None
    try:
        if offset > file.size:
            text = "%.300r of this run has %d bytes, fewer than the offset %d" % (path, file.size, offset)
            raise Refusal(BAD_REQUEST, text, "It was replaced since; fetch it from its beginning.")
        writer.json({"path": path, "offset": offset, "size": file.size})
        os.lseek(file.descriptor, offset, os.SEEK_SET)
        digest = hashlib.sha256()
        sent = 0
        try:
            for chunk in read(file.descriptor, file.size - offset):
                digest.update(chunk)
                writer.data(chunk)
                sent += len(chunk)
        except UnreadableError as error:
            writer.end()
            raise Refusal(DAMAGED, "%.300r of this run cannot be read: %s" % (path, error)) from None
        writer.end()
        writer.json({"path": path, "bytes": sent, "sha256": digest.hexdigest()})
    finally:
        os.close(file.descriptor)
