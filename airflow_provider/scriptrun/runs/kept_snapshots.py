"""The snapshots that a workspace keeps: one pack of new blobs per submission, and where each blob lies.

``snapshots/<id>`` is a line of canonical JSON (``{"manifest": bytes, "packs": [[id, bytes], ...], "version": 1}``), the
manifest, and for each blob of it, in the order of its first mention, pack number and offset (``>IQ``). It is written
last: what it names is whole. ``packs/<id>.pack`` holds blobs end to end; its id is the sha256 of canonical JSON of
their hashes and sizes, so the same content has the same name before it is read.
"""

from __future__ import annotations

import json
import logging
import struct
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from airflow_provider.scriptrun.errors import WorkspaceError
from airflow_provider.scriptrun.runs import workspace_layout as layout
from airflow_provider.scriptrun.runs.local_objects import LocalObjects
from airflow_provider.scriptrun.runs.objects import PIECE_BYTES
from airflow_provider.scriptrun.supervisor.protocol.atomic import write_atomic
from airflow_provider.scriptrun.supervisor.protocol.canonical import canonical_json, digest
from airflow_provider.scriptrun.supervisor.protocol.manifest import ManifestError, blobs_of, decode, snapshot_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider.scriptrun.runs.objects import ObjectStore
    from airflow_provider.scriptrun.snapshot import Snapshot
    from airflow_provider.scriptrun.supervisor.protocol.manifest import Entry

_log = logging.getLogger(__name__)

_VERSION = 1
_LOCATION = struct.Struct(">IQ")
HASH_CHARACTERS = 64
#: A snapshot whose blobs are spread over more packs than this gets those of the smallest ones anew, in one.
MAX_PACKS = 64
PACKS_AFTER_REPACKING = 16


class Pack(NamedTuple):
    """Blobs end to end in one object."""

    id: str
    size: int  #: bytes


@dataclass(frozen=True)
class Kept:
    """What keeping a snapshot wrote."""

    blobs: int
    bytes: int


class _Location(NamedTuple):
    pack: Pack
    offset: int


class KeptSnapshot:
    """A snapshot in a workspace, open for reading; use it in a ``with`` block."""

    def __init__(self, store: ObjectStore, snapshot: str) -> None:
        self._store = store
        name = layout.snapshot_object(snapshot)
        document = store.get(name)
        if document is None:
            raise WorkspaceError(f"The workspace {store.url} has no snapshot {snapshot}", advice="Was it removed?")
        manifest, self._locations = _decode(document, store.uri(name))
        if snapshot_id(manifest) != snapshot:
            raise WorkspaceError(f"{store.uri(name)} is damaged", why="it holds the manifest of another snapshot")
        self.entries: list[Entry] = decode(manifest)
        self._sizes = blobs_of(self.entries)
        self._packs: dict[str, IO[bytes]] = {}
        self._open = ExitStack()

    def __enter__(self) -> KeptSnapshot:
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()

    def open_blob(self, sha256: str) -> Iterator[bytes]:
        """Yield a blob's bytes; whoever restores checks them. Raises ``KeyError`` for one of another snapshot."""
        left = self._sizes[sha256]
        if not left:
            return
        location = self._locations[sha256]
        name = layout.pack_object(location.pack.id)
        with self._store.explained(name, "read"):
            file = self._packs.get(name)
            if file is None:
                file = self._packs[name] = self._open.enter_context(self._store.open(name))
            file.seek(location.offset)
            while left > 0:
                piece = file.read(min(left, PIECE_BYTES))
                if not piece:
                    raise WorkspaceError(f"{self._store.uri(name)} is damaged", why=f"it ends {left} bytes too early")
                left -= len(piece)
                yield piece


def keep(
    store: ObjectStore, snapshot: Snapshot, cache_directory: Path, progress: Callable[[int], None] | None = None
) -> Kept:
    """Keep a snapshot: nothing is written when it is there, else one pack of the blobs that its predecessor had not.

    :param cache_directory: where the predecessor, of the same source directory, is remembered.
    :param progress: called with the number of bytes written, piece by piece.

    Raises :class:`WorkspaceError`; what was written so far is named by nothing then.
    """
    name = layout.snapshot_object(snapshot.id)
    if store.size(name) is not None:
        return Kept(0, 0)
    memory = Path(cache_directory) / "kept" / digest(f"{store.url}\0{snapshot.root}".encode("utf-8", "surrogateescape"))
    sizes = blobs_of(snapshot.entries)
    locations = {sha: place for sha, place in _remembered(store, memory).items() if sha in sizes}
    _forget_scattered(locations, sizes)
    missing = [sha for sha, size in sizes.items() if size and sha not in locations]
    if missing:
        pack = Pack(digest(canonical_json([[sha, sizes[sha]] for sha in missing])), sum(sizes[sha] for sha in missing))
        if store.size(layout.pack_object(pack.id)) != pack.size:
            _write_pack(store, pack, missing, snapshot, progress)
        offset = 0
        for sha in missing:
            locations[sha] = _Location(pack, offset)
            offset += sizes[sha]
    packs, table = _packs_and_table(sizes, locations)
    document = _encode(snapshot.manifest, packs, table)
    store.put(name, document, durable=True)
    _remember(memory, snapshot.id, len(document), packs, table, sizes)
    return Kept(len(missing), sum(sizes[sha] for sha in missing))


def _remember(
    memory: Path, snapshot: str, size: int, packs: list[Pack], table: bytes, sizes: Mapping[str, int]
) -> None:
    """Note what is kept. A disk that refuses is logged: without it the next snapshot keeps every blob anew.

    Beside the table stand the hashes, so that no manifest has to be read for them.
    """
    blobs = "".join([sha for sha, size in sizes.items() if size]).encode("ascii")
    head = {"snapshot": snapshot, "size": size, "packs": packs}
    content = canonical_json(head) + b"\n" + blobs + table
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(str(memory), digest(content).encode("ascii") + content)
    except OSError as error:
        _log.warning("%s cannot be written, the next snapshot is kept as a whole: %s", memory, error)


def _write_pack(
    store: ObjectStore, pack: Pack, blobs: list[str], snapshot: Snapshot, progress: Callable[[int], None] | None
) -> None:
    if isinstance(store, LocalObjects):
        store.sweep(layout.PACKS)
    with store.writer(layout.pack_object(pack.id), durable=True) as writer:
        for sha in blobs:
            for chunk in snapshot.open_blob(sha):
                writer.write(chunk)
                if progress is not None:
                    progress(len(chunk))


def _remembered(store: ObjectStore, memory: Path) -> dict[str, _Location]:
    """Return where the predecessor's blobs lie, if it is still in the workspace. Damage only costs time."""
    try:
        data = memory.read_bytes()
    except OSError:
        return {}
    content = data[HASH_CHARACTERS:]
    if digest(content).encode("ascii") != data[:HASH_CHARACTERS]:
        return {}
    first, _, rest = content.partition(b"\n")
    head = json.loads(first)
    if store.size(layout.snapshot_object(head["snapshot"])) != head["size"]:
        return {}
    packs = [Pack(*pack) for pack in head["packs"]]
    count = len(rest) // (HASH_CHARACTERS + _LOCATION.size)
    blobs, table = rest[: count * HASH_CHARACTERS].decode("ascii"), rest[count * HASH_CHARACTERS :]
    hashes = [blobs[at : at + HASH_CHARACTERS] for at in range(0, len(blobs), HASH_CHARACTERS)]
    places = [_Location(packs[pack], offset) for pack, offset in _LOCATION.iter_unpack(table)]
    return dict(zip(hashes, places, strict=True))


def _forget_scattered(locations: dict[str, _Location], sizes: Mapping[str, int]) -> None:
    used: Counter[Pack] = Counter()
    for sha, place in locations.items():
        used[place.pack] += sizes[sha]
    if len(used) > MAX_PACKS:
        largest = {pack for pack, _ in used.most_common(PACKS_AFTER_REPACKING)}
        for sha in [sha for sha, place in locations.items() if place.pack not in largest]:
            del locations[sha]


def _packs_and_table(sizes: Mapping[str, int], locations: Mapping[str, _Location]) -> tuple[list[Pack], bytes]:
    """Return the packs that hold something, and for each blob that is not empty, pack number and offset."""
    packs = list(dict.fromkeys(place.pack for place in locations.values()))
    number = {pack: index for index, pack in enumerate(packs)}
    places = [locations[sha] for sha, size in sizes.items() if size]
    return packs, b"".join([_LOCATION.pack(number[pack], offset) for pack, offset in places])


def _encode(manifest: bytes, packs: list[Pack], table: bytes) -> bytes:
    header = {"version": _VERSION, "manifest": len(manifest), "packs": packs}
    return canonical_json(header) + b"\n" + manifest + table


def _decode(document: bytes, where: str) -> tuple[bytes, dict[str, _Location]]:
    first, _, rest = document.partition(b"\n")
    try:
        header: dict[str, Any] = json.loads(first)
        version, length = int(header["version"]), int(header["manifest"])
        packs = [Pack(str(name), int(size)) for name, size in header["packs"]]
    except (ValueError, TypeError, KeyError) as error:
        raise WorkspaceError(f"{where} is damaged", why=f"its header: {error!r}") from None
    if version != _VERSION:
        raise WorkspaceError(f"{where} has the format {version}", advice="Install a newer version of the provider")
    manifest, table = rest[:length], rest[length:]
    try:
        blobs = [(sha, size) for sha, size in blobs_of(decode(manifest)).items() if size]
        places = [_Location(packs[pack], offset) for pack, offset in _LOCATION.iter_unpack(table)]
    except (ManifestError, IndexError, struct.error) as error:
        raise WorkspaceError(f"{where} is damaged", why=str(error)) from None
    if len(places) != len(blobs):
        raise WorkspaceError(f"{where} is damaged", why=f"it places {len(places)} of {len(blobs)} blobs")
    for (sha, size), place in zip(blobs, places, strict=True):
        if place.offset + size > place.pack.size:
            raise WorkspaceError(f"{where} is damaged", why=f"blob {sha} lies outside its pack")
    return manifest, {sha: place for (sha, _), place in zip(blobs, places, strict=True)}
