"""A run's own copy of a snapshot: whatever its script does to it reaches neither the store nor another run."""

import contextlib
import errno
import os
from typing import Iterator, List, NamedTuple, Optional, Set

from .. import store
from ..layout import Layout
from ..protocol import manifest as manifests
from .tree import open_folder, open_own_folder, umask

FILE_MODE, EXECUTABLE_MODE, FOLDER_MODE = 0o644, 0o755, 0o755
#: Where copy_file_range(2) cannot do it: across file systems, on old kernels, on file systems without it.
_NOT_BY_THE_KERNEL = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY)
_COPY_BYTES = 1024 * 1024
#: The kernel copies at most this much at a time (MAX_RW_COUNT is a page less than 2 GiB).
_KERNEL_COPY_BYTES = 1024 * 1024 * 1024
#: Longer paths are walked in steps, each below PATH_MAX (4096 bytes, the final zero included).
_STEP_BYTES = 4000

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_CLOEXEC


class CheckoutError(Exception):
    """The working copy cannot be made from what is kept here. ``blob`` is the one that is missing or damaged, if any.

    The snapshot does not count as complete any more then: the next start asks for what is missing.
    """

    def __init__(self, message: str, blob: Optional[str] = None) -> None:
        super().__init__(message)
        self.blob = blob


class CheckoutFacts(NamedTuple):
    """What a working copy holds."""

    files: int
    bytes: int


def checkout(layout: Layout, snapshot_id: str, destination: str) -> CheckoutFacts:
    """Make the folder ``destination`` (it must not exist, its parent must) and copy the snapshot into it.

    Modes are 0644 and 0755 whatever the umask. Sizes are checked; content was when it arrived.
    Raises ``CheckoutError``, and ``OSError`` when it cannot be written; what was copied so far is left for the caller.
    """
    with _entries(layout, snapshot_id) as entries:
        os.mkdir(destination, FOLDER_MODE)
        return _make(layout, snapshot_id, destination, entries)


def checkout_file(layout: Layout, snapshot_id: str, destination: str) -> CheckoutFacts:
    """Copy the one file of a snapshot that has nothing else to ``destination``, which must not exist.

    Mode and errors are those of ``checkout``; also ``CheckoutError`` for a snapshot that is no single file.
    """
    folder, name = os.path.split(destination)
    with _entries(layout, snapshot_id) as entries:
        if len(entries) != 1 or entries[0].type not in (manifests.FILE, manifests.EXECUTABLE):
            raise CheckoutError("the snapshot %s is not one file" % snapshot_id)
        return _make(layout, snapshot_id, folder, [entries[0]._replace(path=os.fsencode(name))])


@contextlib.contextmanager
def _entries(layout: Layout, snapshot_id: str) -> Iterator[List[manifests.Entry]]:
    """Return what a snapshot holds; while the block lasts, none of it is cleaned away."""
    with store.hold_manifest(layout, snapshot_id, offered=False) as manifest:
        if manifest is None:
            raise CheckoutError("the snapshot %s is not here" % snapshot_id)
        try:
            entries = manifests.decode(manifest)
        except manifests.ManifestError as error:
            store.drop_snapshot(layout, snapshot_id)
            raise CheckoutError("the manifest of the snapshot %s is damaged: %s" % (snapshot_id, error)) from None
        yield entries


def _make(layout: Layout, snapshot_id: str, folder: str, entries: List[manifests.Entry]) -> CheckoutFacts:
    copy = _WorkingCopy(layout.blobs, folder)
    try:
        return copy.make(entries)
    except CheckoutError:
        store.drop_snapshot(layout, snapshot_id)
        raise
    finally:
        copy.close()


class _WorkingCopy:
    """A tree in the making: nobody else writes to it, what is there stays, and links come last: none is followed."""

    def __init__(self, blobs: str, destination: str) -> None:
        self._blobs = open_own_folder(blobs)
        self._top = open_folder(destination)
        self._hidden_bits = umask() & EXECUTABLE_MODE
        if self._hidden_bits:
            os.fchmod(self._top, FOLDER_MODE)
        self._made: Set[bytes] = {b""}
        self._folder = b""  #: the one that ``_descriptor`` is of: files of one folder mostly stand together
        self._descriptor = open_folder(b".", self._top)
        self._by_kernel = hasattr(os, "copy_file_range")

    def close(self) -> None:
        os.close(self._descriptor)
        os.close(self._top)
        os.close(self._blobs)

    def make(self, entries: List[manifests.Entry]) -> CheckoutFacts:
        files = size = 0
        links = []
        for entry in entries:
            path, kind, length, content = entry
            if kind == manifests.LINK:
                links.append(entry)
                continue
            if kind == manifests.DIRECTORY:
                self._make_folder(path)
                continue
            folder, _, name = path.rpartition(b"/")
            if folder != self._folder:
                self._enter(folder)
            self._copy(content, length, name, EXECUTABLE_MODE if kind == manifests.EXECUTABLE else FILE_MODE)
            files += 1
            size += length
        for entry in links:
            folder, _, name = entry.path.rpartition(b"/")
            self._enter(folder)
            os.symlink(entry.content, name, dir_fd=self._descriptor)
        return CheckoutFacts(files, size)

    def _enter(self, folder: bytes) -> None:
        """Make ``folder`` the one that files are made in."""
        if folder != self._folder:
            self._make_folder(folder)
            descriptor = self._open(folder)
            os.close(self._descriptor)
            self._folder, self._descriptor = folder, descriptor

    def _make_folder(self, folder: bytes) -> None:
        missing = []
        while folder not in self._made:
            missing.append(folder)
            folder = folder.rpartition(b"/")[0]
        for path in reversed(missing):
            parent, _, name = path.rpartition(b"/")
            descriptor = self._open(parent)
            try:
                os.mkdir(name, FOLDER_MODE, dir_fd=descriptor)
                if self._hidden_bits:
                    os.chmod(name, FOLDER_MODE, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            self._made.add(path)

    def _open(self, folder: bytes) -> int:
        """Open a folder of the tree, in steps where its path is longer than the kernel takes at once."""
        descriptor = self._top
        while True:
            step, rest = folder, b""
            if len(folder) > _STEP_BYTES:
                cut = folder.rindex(b"/", 0, _STEP_BYTES)
                step, rest = folder[:cut], folder[cut + 1 :]
            try:
                fresh = open_folder(step or b".", descriptor)
            finally:
                if descriptor != self._top:
                    os.close(descriptor)
            if not rest:
                return fresh
            descriptor, folder = fresh, rest

    def _copy(self, sha256: bytes, size: int, name: bytes, mode: int) -> None:
        target = os.open(name, _NEW_FILE, mode, dir_fd=self._descriptor)
        try:
            if size:
                source = self._open_blob(sha256)
                try:
                    # One byte more is asked for: a blob that is too long shows itself without another system call.
                    copied = self._copy_by_kernel(source, target, size + 1) if self._by_kernel else 0
                    if copied < size:
                        copied += _copy_by_hand(source, target, size + 1 - copied)
                finally:
                    os.close(source)
                if copied != size:
                    name_of_blob = sha256.decode("ascii")
                    text = "the blob %s is damaged: it should have %d bytes" % (name_of_blob, size)
                    raise CheckoutError(text, name_of_blob)
            if self._hidden_bits:
                os.fchmod(target, mode)
        finally:
            os.close(target)

    def _open_blob(self, sha256: bytes) -> int:
        try:
            return os.open(b"%b/%b" % (sha256[:2], sha256), _READ, dir_fd=self._blobs)
        except FileNotFoundError:
            name = sha256.decode("ascii")
            raise CheckoutError("the blob %s is missing" % name, name) from None

    def _copy_by_kernel(self, source: int, target: int, limit: int) -> int:
        """Copy up to ``limit`` bytes, as an extent that both share where the file system can do that."""
        copied = 0
        try:
            while copied < limit - 1:
                count = os.copy_file_range(source, target, min(limit - copied, _KERNEL_COPY_BYTES))
                if not count:
                    break
                copied += count
        except OSError as error:
            if error.errno not in _NOT_BY_THE_KERNEL:
                raise
            self._by_kernel = False
        return copied


def _copy_by_hand(source: int, target: int, limit: int) -> int:
    copied = 0
    while copied < limit:
        chunk = os.read(source, min(_COPY_BYTES, limit - copied))
        if not chunk:
            break
        copied += len(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(target, view) :]
    return copied
