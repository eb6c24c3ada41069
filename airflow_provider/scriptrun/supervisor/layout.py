"""Every path on a target. Nothing that comes over the wire becomes a part of a path before it is checked here."""

from __future__ import annotations

import contextlib
import os

from .refusal import BAD_REQUEST, Refusal

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import List, Optional

MAX_RUN_ID_LENGTH = 128
RUN_ID_RULE = "1 to 128 of A-Z a-z 0-9 _ . -, the first of them a letter or a digit"
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_RUN_ID_CHARACTERS = _LETTERS | frozenset("_.-")
_HEXADECIMAL = "0123456789abcdef"
PRIVATE = 0o700
#: Programs that a worker may lend.
TOOLS = ("uv",)


def check_run_id(run_id: object) -> str:
    """Return ``run_id`` when it matches ``[A-Za-z0-9][A-Za-z0-9_.-]{0,127}``, else raise ``Refusal``."""
    if (
        not isinstance(run_id, str)
        or not 0 < len(run_id) <= MAX_RUN_ID_LENGTH
        or run_id[0] not in _LETTERS
        or not _RUN_ID_CHARACTERS.issuperset(run_id)
    ):
        raise Refusal(BAD_REQUEST, "%.200r is no run id: %s" % (run_id, RUN_ID_RULE))
    return run_id


def check_sha256(name: object) -> str:
    """Return ``name`` when it is a sha256 as 64 lower-case hexadecimal digits, else raise ``Refusal``."""
    if not isinstance(name, str) or len(name) != 64 or name.strip(_HEXADECIMAL):
        raise Refusal(BAD_REQUEST, "%.200r is no sha256 of 64 lower-case hexadecimal digits" % (name,))
    return name


def make_folder(path: str) -> str:
    """Make the folder ``path`` (and its parents) with mode 0700, unless it is there; return it."""
    os.makedirs(path, mode=PRIVATE, exist_ok=True)
    return path


class RunLayout:
    """The paths of one run: ``runs/<run id>/`` and what is in it."""

    def __init__(self, folder: str, run_id: str) -> None:
        self.id = run_id
        self.folder = folder
        self.code = os.path.join(folder, "code")  #: the script's working directory
        self.outputs = os.path.join(self.code, "outputs")
        self.logs = os.path.join(self.code, "logs")
        self.inputs = os.path.join(self.code, "inputs")
        self.bin = os.path.join(folder, "bin")  #: holds a ``python`` where the environment's own folder has none
        self.run_log = os.path.join(folder, "run.log")  #: every byte of the script's standard output and error
        self.build_log = os.path.join(folder, "build.log")  #: what preparing the code and the environment printed
        self.supervisor_log = os.path.join(folder, "supervisor.log")  #: the supervisor's own stderr, for diagnosis
        self.messages = os.path.join(folder, "messages.jsonl")
        self.status = os.path.join(folder, "status.json")
        self.request = os.path.join(folder, "request.json")  #: the start request, without any secret
        self.context = os.path.join(folder, "context.json")
        self.prepared = os.path.join(folder, "prepared.json")  #: what the preparing child hands to the supervisor
        self.alive = os.path.join(folder, "alive")  #: locked while the supervisor or its guard lives
        self.promised = os.path.join(folder, "promised")  #: locked by those who are about to begin it in a container
        self.begun = os.path.join(folder, "begun")  #: made right before the script is started, once
        self.control = os.path.join(folder, "control")  #: FIFO: cancel requests
        self.reserve = os.path.join(folder, "reserve")  #: some bytes kept for the last status on a full disk
        self.lease = os.path.join(folder, "lease")  #: its modification time is when somebody last watched
        self.collected = os.path.join(folder, "collected")  #: somebody has fetched all that they want of it
        self.forgotten = os.path.join(folder, "forgotten")  #: what it found damaged does not count as complete any more
        self.size = os.path.join(folder, "size.json")  #: bytes on disk, once the run is over and a clean has seen it
        self.packages = os.path.join(folder, "packages.txt")  #: the exact package list of the environment
        #: what tools that build into an image download, until they have built
        self.cache = os.path.join(folder, "cache")

    def stream(self, name: str) -> str:
        """Return the path of the stream that a poll may read: ``run.log``, ``build.log`` or ``messages.jsonl``."""
        streams = {"run.log": self.run_log, "build.log": self.build_log, "messages.jsonl": self.messages}
        if name not in streams:
            raise Refusal(BAD_REQUEST, "%.200r is no stream; there are %s" % (name, ", ".join(streams)))
        return streams[name]


class EnvironmentLayout:
    """The paths of one environment: ``environments/<key>/``, or the folder beside it in which it is being built."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.bin = os.path.join(folder, "bin")
        self.python = os.path.join(self.bin, "python")
        self.packages = os.path.join(folder, "packages.txt")  #: exact package list, ``name==version`` lines
        self.in_use = os.path.join(folder, "in-use")  #: runs hold a shared flock on it; modified when last used
        self.size = os.path.join(folder, "size.json")  #: bytes on disk, measured by the first clean that sees it
        self.complete = os.path.join(folder, "complete.json")  #: written last: without it this is no environment


class ToolLayout:
    """The paths of one program that a worker has lent: ``tools/<sha256>/``."""

    def __init__(self, folder: str, name: str) -> None:
        self.folder = folder
        self.program = os.path.join(folder, name)
        self.in_use = os.path.join(folder, "in-use")  #: builders hold a shared flock on it; modified when last used


class Layout:
    """The root on a target (default ``~/.scriptrun``, mode 0700) and every path in it. Makes nothing but on request."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self.blobs = os.path.join(self.root, "blobs")
        self.snapshots = os.path.join(self.root, "snapshots")
        self.incoming = os.path.join(self.root, "incoming")  #: half-received manifests and blobs
        self.trash = os.path.join(self.root, "trash")  #: what was moved out of the way to be removed
        self.environments = os.path.join(self.root, "environments")
        self.images = os.path.join(self.root, "images")  #: notes of images that workers have made in an engine
        self.locks = os.path.join(self.root, "locks")  #: resolved requirement locks
        self.tools = os.path.join(self.root, "tools")  #: programs that workers have lent
        self.supervisors = os.path.join(self.root, "supervisor")
        self.lineages = os.path.join(self.root, "lineages")
        self.tombstones = os.path.join(self.root, "tombstones")
        self.slots = os.path.join(self.root, "slots")
        self.runs = os.path.join(self.root, "runs")
        self.checkpoints = os.path.join(self.root, "checkpoints")
        self.machine = os.path.join(self.root, "machine")  #: stands in for /etc/machine-id where there is none
        self.engine = os.path.join(self.root, "engine")  #: the id of the container engine whose volume the root is
        self.engine_name = os.path.join(self.root, "engine-name")  #: and the name of its machine, for messages
        self.clean_lock = os.path.join(self.root, "clean.lock")  #: held by the one that cleans
        self.store_lock = os.path.join(self.root, "store.lock")  #: held while blobs or snapshots appear or go
        self.cleaned = os.path.join(self.root, "cleaned")  #: its modification time is when the root was last cleaned

    def make_root(self) -> None:
        """Make the root and its first level, mode 0700. Others lose their access to a root that was there before."""
        make_folder(self.root)
        if os.stat(self.root).st_mode & 0o066:  # going through it may be allowed, as in a container of another user
            os.chmod(self.root, PRIVATE)
        for folder in (
            self.blobs, self.snapshots, self.incoming, self.environments, self.locks, self.supervisors,
            self.lineages, self.tombstones, self.slots, self.runs, self.checkpoints,
        ):  # fmt: skip
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, PRIVATE)

    def blob(self, sha256: str) -> str:
        """Return ``blobs/ab/<sha256>``."""
        return os.path.join(self.blobs, check_sha256(sha256)[:2], sha256)

    def snapshot(self, snapshot_id: str) -> str:
        """Return ``snapshots/<id>``: the manifest, there only when every blob of it is."""
        return os.path.join(self.snapshots, check_sha256(snapshot_id))

    def offered(self, snapshot_id: str) -> str:
        """Return ``incoming/<id>``: the manifest of a snapshot whose blobs are still on their way."""
        return os.path.join(self.incoming, check_sha256(snapshot_id))

    def turn(self, sha256: str) -> str:
        """Return ``incoming/<sha256>.turn``: locked by who sends this snapshot, or this program."""
        return os.path.join(self.incoming, check_sha256(sha256) + ".turn")

    def environment(self, key: str) -> str:
        """Return ``environments/<key>``."""
        return os.path.join(self.environments, check_sha256(key))

    def environment_parts(self, key: str) -> EnvironmentLayout:
        """Return the paths within ``environments/<key>``."""
        return EnvironmentLayout(self.environment(key))

    def environment_draft(self, key: str) -> str:
        """Return a new name beside ``environments/<key>``, to build in; the key's flock is held while it is used."""
        return os.path.join(self.environments, ".tmp.%s.%s" % (check_sha256(key), os.urandom(4).hex()))

    def environment_lock(self, key: str) -> str:
        """Return ``locks/<key>``: the resolved requirements of a recipe, not an flock."""
        return os.path.join(self.locks, check_sha256(key))

    def environment_flock(self, key: str) -> str:
        """Return ``locks/<key>.flock``: held by who resolves the recipe, or builds the environment, of this key."""
        return self.environment_lock(key) + ".flock"

    def image(self, key: str) -> str:
        """Return ``images/<key>``: what is noted of an image; modified when it was wanted last."""
        return os.path.join(self.images, check_sha256(key))

    def interpreter_facts(self, path: str) -> str:
        """Return where it is kept what the interpreter at ``path`` said of itself."""
        return os.path.join(self.locks, "interpreter-" + _digest(os.fsencode(path)))

    def package_list(self, sha256: str) -> str:
        """Return where the package list with this content is kept, of an environment that is not ours."""
        return os.path.join(self.locks, "packages-%s.txt" % check_sha256(sha256))

    def tool(self, sha256: str, name: str) -> ToolLayout:
        """Return the paths of the program ``name`` with this content."""
        if name not in TOOLS:
            raise Refusal(BAD_REQUEST, "%.100r is no program to be lent" % (name,))
        return ToolLayout(os.path.join(self.tools, check_sha256(sha256)), name)

    def lent_tool(self, program: str) -> Optional[ToolLayout]:
        """Return the paths of the lent program at ``program``; ``None`` when it is the target's own."""
        folder, name = os.path.split(program)
        return ToolLayout(folder, name) if os.path.dirname(folder) == self.tools else None

    def supervisor(self, version: str) -> str:
        """Return ``supervisor/<version>``."""
        return os.path.join(self.supervisors, check_run_id(version))

    def lineage(self, lineage: str) -> str:
        """Return the record of a lineage, named by the sha256 of its name: any text may name one."""
        return os.path.join(self.lineages, _hashed(lineage))

    def lineage_lock(self, lineage: str) -> str:
        """Return the file whose flock is held while a start or a cancel decides."""
        return self.lineage(lineage) + ".lock"

    def checkpoint(self, lineage: str) -> str:
        """Return the folder that stays the same for every run of a lineage."""
        return os.path.join(self.checkpoints, _hashed(lineage))

    def tombstone(self, run_id: str) -> str:
        """Return the mark of a run that was cancelled before it started."""
        return os.path.join(self.tombstones, check_run_id(run_id))

    def run(self, run_id: str) -> RunLayout:
        """Return the paths of a run, whether it exists or not."""
        return RunLayout(os.path.join(self.runs, check_run_id(run_id)), run_id)

    def run_ids(self) -> List[str]:
        """Return the ids of every run that has a folder, in no order."""
        try:
            return [name for name in os.listdir(self.runs) if _is_run_id(name)]
        except FileNotFoundError:
            return []


def _hashed(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise Refusal(BAD_REQUEST, "%.200r is no lineage: it must be a text, and not an empty one" % (name,))
    return _digest(name.encode("utf-8", "surrogatepass"))


def _digest(data: bytes) -> str:
    from .protocol.canonical import digest

    return digest(data)


def _is_run_id(name: str) -> bool:
    try:
        check_run_id(name)
    except Refusal:
        return False
    return True
