"""A target's store as tests see it: trees, their manifests, and the frames that a worker would send."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider.scriptrun.supervisor import store
from airflow_provider.scriptrun.supervisor.protocol import frames, ranges
from airflow_provider.scriptrun.supervisor.protocol.manifest import Entry, blobs_of, decode, encode, snapshot_id
from airflow_provider.scriptrun.supervisor.serve import Channel
from airflow_provider.scriptrun.supervisor.store import receive

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider.scriptrun.supervisor.layout import Layout

SUPERVISOR = Path(receive.__file__).parent.parent


class Parcel(NamedTuple):
    """A snapshot as its sender has it."""

    id: str
    manifest: bytes
    blobs: dict[str, bytes]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def parcel(files: Mapping[str, bytes], executable: Iterable[str] = (), extra: Iterable[Entry] = ()) -> Parcel:
    """Return the snapshot of these files."""
    marked = set(executable)
    entries = [
        Entry(os.fsencode(path), "x" if path in marked else "f", len(data), sha256(data).encode())
        for path, data in files.items()
    ]
    manifest = encode([*entries, *extra])
    return Parcel(snapshot_id(manifest), manifest, {sha256(data): data for data in files.values()})


def entries_on_disk(folder: Path) -> list[Entry]:
    """Return what a manifest of this folder has to say, read without any code of the product."""
    found = []
    for path in os.scandir(os.fsencode(folder)):
        found += _entries(path.path, path.name)
    return found


def _entries(path: bytes, name: bytes) -> list[Entry]:
    facts = os.lstat(path)
    if stat.S_ISLNK(facts.st_mode):
        return [Entry(name, "l", 0, os.readlink(path))]
    if stat.S_ISDIR(facts.st_mode):
        inner = [entry for child in os.listdir(path) for entry in _entries(path + b"/" + child, name + b"/" + child)]
        return inner or [Entry(name, "d", 0, b"")]
    data = Path(os.fsdecode(path)).read_bytes()
    return [Entry(name, "x" if facts.st_mode & 0o100 else "f", len(data), sha256(data).encode())]


def offer_frames(thing: Parcel) -> bytes:
    stream = io.BytesIO()
    writer = frames.FrameWriter(stream)
    writer.data(thing.manifest)
    writer.end()
    return stream.getvalue()


def data_frames(data: bytes, chunk: int = frames.CHUNK_BYTES, compress: bool = False) -> bytes:
    """Return data in chunks, and the end frame."""
    stream = io.BytesIO()
    writer = frames.FrameWriter(stream)
    for at in range(0, len(data), chunk):
        piece = data[at : at + chunk]
        writer.data(frames.Compressed(zlib.compress(piece)) if compress else piece)
    writer.end()
    return stream.getvalue()


def send_request(thing: Parcel, names: Iterable[str]) -> dict[str, Any]:
    """Return the request that announces these blobs, which are given in the manifest's order."""
    numbers = {name: number for number, name in enumerate(blobs_of(decode(thing.manifest)))}
    return {"op": "send", "snapshot": thing.id, "blobs": ranges.encode(numbers[name] for name in names)}


def contents(thing: Parcel, names: Iterable[str]) -> bytes:
    return b"".join(thing.blobs[name] for name in names)


class Session:
    """Calls a handler with the given input, and reads what it answered."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def call(self, handler: Any, request: dict[str, Any], body: bytes = b"") -> list[Any]:
        output = io.BytesIO()
        handler(request, Channel(io.BytesIO(body), frames.FrameWriter(output), self.layout))
        return list(answers(io.BytesIO(output.getvalue())))

    def offer(self, thing: Parcel) -> list[str]:
        (answer,) = self.call(receive.offer, {"op": "offer", "snapshot": thing.id}, offer_frames(thing))
        return named(thing, answer)

    def offer_change(self, thing: Parcel, base: str, change: bytes) -> list[str] | None:
        """Offer it as a change of another snapshot; ``None``: it is wanted whole."""
        request = {"op": "offer", "snapshot": thing.id, "base": base}
        (answer,) = self.call(receive.offer, request, data_frames(change))
        return None if answer["missing"] is None else named(thing, answer)

    def send(self, thing: Parcel, names: Iterable[str], data: bytes | None = None, **how: Any) -> dict[str, Any]:
        """Send these blobs; ``data`` in the place of their contents."""
        names = list(names)
        body = data_frames(contents(thing, names) if data is None else data, **how)
        (answer,) = self.call(receive.send, send_request(thing, names), body)
        return answer

    def put(self, thing: Parcel) -> None:
        """Offer and send all of it."""
        missing = self.offer(thing)
        if missing:
            assert self.send(thing, missing)["complete"]
        assert store.has_snapshot(self.layout, thing.id)


def named(thing: Parcel, answer: dict[str, Any]) -> list[str]:
    """Return the blobs that an offer's answer speaks of."""
    blobs = list(blobs_of(decode(thing.manifest)))
    return [blobs[number] for number in ranges.decode(answer["missing"], len(blobs))]


def answers(stream: Any) -> Iterator[Any]:
    """Yield JSON objects as they are, and sequences of data as bytes."""
    reader = frames.FrameReader(stream)
    data = b""
    while True:
        frame = reader.next()
        if frame is None:
            return
        kind, payload = frame
        if kind == frames.DATA:
            data += payload
        elif kind == frames.END:
            yield data
            data = b""
        else:
            yield frames.FrameReader(io.BytesIO(frames.JSON + len(payload).to_bytes(4, "big") + payload)).json()


class Serve:
    """A supervisor's session in a process of its own, started as it is on a target. A context manager."""

    def __init__(self, root: Path, interpreter: str = sys.executable) -> None:
        folder = root.parent / "started"
        folder.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (folder / "scriptrun_supervisor").symlink_to(SUPERVISOR)
        code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from scriptrun_supervisor.serve import main; main()"
        self.process = subprocess.Popen(
            [interpreter, "-I", "-S", "-E", "-B", "-c", code, str(folder), "serve", "--root", str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdin
        assert self.process.stdout
        self.input, self.output = self.process.stdin, self.process.stdout
        self.writer = frames.FrameWriter(self.input)
        self.reader = frames.FrameReader(self.output)
        frames.find_marker(self.output)

    def __enter__(self) -> Serve:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.input.close()
        self.output.read()
        self.process.wait()
        self.output.close()

    def ask(self, request: dict[str, Any], body: bytes = b"") -> dict[str, Any]:
        self.writer.json(request)
        self.input.write(body)
        self.input.flush()
        answer = self.reader.json()
        assert answer is not None
        return answer

    def put(self, thing: Parcel) -> None:
        missing = self.offer(thing)
        if missing:
            assert self.ask(send_request(thing, missing), data_frames(contents(thing, missing)))["complete"]

    def offer(self, thing: Parcel) -> list[str]:
        return named(thing, self.ask({"op": "offer", "snapshot": thing.id}, offer_frames(thing)))
