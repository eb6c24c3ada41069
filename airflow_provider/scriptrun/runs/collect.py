"""Brings what a run left into the workspace: outputs, logs and messages, only what the workspace lacks.

Nothing that the target says is trusted: paths are checked again here, no file may be longer than announced, and each
is hashed while it streams; it exists in the workspace only when it is whole.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import ProtocolError
from airflow_provider.scriptrun.runs import workspace_layout as layout
from airflow_provider.scriptrun.runs.contents import Contents, is_worth_it
from airflow_provider.scriptrun.runs.crash_points import WHILE_COLLECTING, crash_point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from airflow_provider.scriptrun.runs.objects import ObjectStore
    from airflow_provider.scriptrun.targets.contract import ComputeTarget, FetchedFile, RemoteFile

MAX_FILES = 200_000
MAX_PATH_BYTES = 2048
MAX_NAME_BYTES = 255
#: So many of what cannot be brought are named.
MAX_NAMED = 5
#: Names that a target may send outside outputs/ and logs/.
SINGLE_FILES = frozenset({layout.RUN_LOG, layout.BUILD_LOG, layout.MESSAGES, layout.PACKAGES})
FOLDERS = (layout.OUTPUTS, layout.LOGS)


@dataclass(frozen=True)
class CollectedFile:
    """A file of a run in the workspace, at ``path`` in the run's folder."""

    path: str
    size: int
    sha256: str
    executable: bool = False

    def document(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"path": self.path, "size": self.size, "sha256": self.sha256, "executable": self.executable}


@dataclass(frozen=True)
class Collection:
    """What a collection came to: iterate over it for the files.

    :param files: all of the run that is in the workspace now, sorted by path.
    :param skipped: the first of what cannot be brought: path -> why (a link that leaves, a FIFO, no permission, ...).
    :param skipped_count: how many there are of those in all.
    """

    files: tuple[CollectedFile, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    skipped_count: int = 0

    def __iter__(self) -> Iterator[CollectedFile]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def warning(self) -> str | None:
        """Return what a person should know about what was left behind; ``None`` when nothing was."""
        if not self.skipped_count:
            return None
        named = [f"{path!r:.200} ({why:.200})" for path, why in list(self.skipped.items())[:MAX_NAMED]]
        more = ", ..." if self.skipped_count > len(named) else ""
        return (
            f"Left on the target, of outputs/ and logs/: {self.skipped_count} that cannot be brought: "
            f"{', '.join(named)}{more}"
        )


def collect(
    target: ComputeTarget,
    run_id: str,
    store: ObjectStore,
    folder: str,
    progress: Callable[[int, int], None] | None = None,
) -> Collection:
    """Bring what ``folder`` of the workspace lacks, and return everything that is there of the run.

    A large file whose content another run of the experiment has brought, or another file of this one, is copied there.

    May be called again at any time: what is there with the right size (and, once a collection was finished, the right
    hash) stays, and so does what the target has cleaned away since. ``progress`` gets (bytes so far, bytes in all).

    Raises :class:`TargetError` (what came so far stays), :class:`ProtocolError` for what no target of ours sends,
    :class:`WorkspaceError`.
    """
    listing = target.files(run_id)
    files = check_files(listing)
    sizes, known = store.walk(folder), collected_files(store, folder)
    hashes = {file.path: file.sha256 for file in known}
    lacking = [
        file
        for file in files
        if sizes.get(store.stored_name(file.path)) != file.size or hashes.get(file.path, file.sha256) != file.sha256
    ]
    total = sum(file.size for file in lacking)
    contents = Contents(store, folder)
    while lacking := [file for file in lacking if not contents.bring(file, f"{folder}/{file.path}")]:
        travelling, lacking = _each_content_once(lacking)
        done = total - sum(file.size for file in (*travelling, *lacking))
        for wanted, fetched in _in_step(travelling, target.fetch(run_id, [file.path for file in travelling])):
            if fetched.path != wanted.path or fetched.offset:
                raise ProtocolError(f"Asked for {wanted.path!r} of run {run_id}, the target sent {fetched.path!r}")
            _store(store, f"{folder}/{wanted.path}", fetched, wanted)
            contents.note(wanted, f"{folder}/{wanted.path}")
            done += wanted.size
            if progress is not None:
                progress(done, total)
    contents.save()
    collected = [CollectedFile(file.path, file.size, file.sha256, file.executable) for file in files]
    listed = {file.path for file in files}
    # A run that is over loses nothing but to the target's cleaning, once it was collected.
    collected += [file for file in known if file.path not in listed and _is_kept(store, file, sizes)]
    collected.sort(key=lambda file: file.path)
    if collected != known:
        store.put_json(f"{folder}/{layout.FILES}", [file.document() for file in collected])
    return Collection(tuple(collected), listing.skipped, listing.skipped_count)


def collected_files(store: ObjectStore, folder: str) -> list[CollectedFile]:
    """Return what the last finished collection brought; nothing before it."""
    return [CollectedFile(**document) for document in store.get_json(f"{folder}/{layout.FILES}") or ()]


def check_files(files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """Return a target's list of files, sorted, if no path of it leaves the run's folder or takes a name of ours.

    Raises :class:`ProtocolError` that names the path.
    """
    checked: dict[str, RemoteFile] = {}
    for file in files:
        if len(checked) >= MAX_FILES:
            raise ProtocolError(
                f"The run has more than {MAX_FILES} files in outputs/ and logs/",
                advice="Put them into an archive at the end of the script",
            )
        if not _is_inside(file.path) or file.path in checked or file.size < 0:
            raise ProtocolError(f"The target lists a file that no run of ours has: {file.path!r:.200}")
        checked[file.path] = file
    return [checked[path] for path in sorted(checked)]


def _is_kept(store: ObjectStore, file: CollectedFile, sizes: Mapping[str, int]) -> bool:
    return sizes.get(store.stored_name(file.path)) == file.size


def _is_inside(path: str) -> bool:
    if path in SINGLE_FILES:
        return True
    parts = path.split("/")
    encoded = path.encode("utf-8", "surrogatepass")
    return (
        parts[0] in FOLDERS
        and len(parts) > 1
        and len(encoded) <= MAX_PATH_BYTES
        and b"\0" not in encoded
        and all(
            part not in ("", ".", "..") and len(part.encode("utf-8", "surrogatepass")) <= MAX_NAME_BYTES
            for part in parts
        )
    )


def _in_step(wanted: Sequence[RemoteFile], fetched: Iterable[FetchedFile]) -> Iterable[tuple[RemoteFile, FetchedFile]]:
    arriving = iter(fetched)
    for file in wanted:
        found = next(arriving, None)
        if found is None:
            raise ProtocolError(f"The target sent nothing for {file.path!r}")
        yield file, found
    if next(arriving, None) is not None:
        raise ProtocolError("The target sent more files than it was asked for")


def _each_content_once(files: Iterable[RemoteFile]) -> tuple[list[RemoteFile], list[RemoteFile]]:
    """Return the files that have to travel, and those that will be copies of one of them."""
    travelling: list[RemoteFile] = []
    copies: list[RemoteFile] = []
    seen: set[str] = set()
    for file in files:
        (copies if is_worth_it(file) and file.sha256 in seen else travelling).append(file)
        seen.add(file.sha256)
    return travelling, copies


def _store(store: ObjectStore, name: str, fetched: FetchedFile, wanted: RemoteFile) -> None:
    digest, size = hashlib.sha256(), 0
    with store.writer(name) as writer:
        for chunk in fetched.chunks:
            size += len(chunk)
            if size > wanted.size:
                raise ProtocolError(f"{wanted.path!r} is longer than the {wanted.size} bytes that were announced")
            digest.update(chunk)
            writer.write(chunk)
            crash_point(WHILE_COLLECTING)
        if size != wanted.size or digest.hexdigest() != wanted.sha256:
            raise ProtocolError(f"{wanted.path!r} is not what was announced ({size} of {wanted.size} bytes)")
