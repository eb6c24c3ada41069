"""The files that a run leaves behind: those of its ``outputs/`` and ``logs/``, its logs, its messages.

The script had its hands on these folders. Only regular files count; a link counts as the regular file that it leads
to, if that lies in ``outputs/`` or ``logs/`` too. Everything else (links that leave, links to folders, FIFOs, sockets,
devices, what cannot be read) is left out, counted and named.

Names are bytes here. As text they are UTF-8, with lone surrogates for what is not (PEP 383).
"""

import errno
import fcntl
import hashlib
import os
import stat
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from .layout import Layout, RunLayout
from .protocol.frames import CHUNK_BYTES
from .refusal import NO_SUCH_RUN, Refusal
from .store.tree import open_folder, walk

#: The folders of the working copy whose files come back, and the files beside it that do.
FOLDERS = (b"outputs", b"logs")
FILES = (b"run.log", b"build.log", b"messages.jsonl", b"packages.txt")
#: So many of what was left out are named; all are counted.
NAMED_SKIPPED = 100

_NO_FOLDER = {errno.ENOTDIR: "it is no folder, or a link", errno.ELOOP: "it is a link"}
#: Opening a FIFO without a writer must not wait; regular files do not know the flag.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class OpenFile(NamedTuple):
    """A regular file of a run, open for reading. What is appended after that is not looked at."""

    descriptor: int
    size: int
    executable: bool


class NotAFileError(Exception):
    """There is something in this place that is not sent; the message says what."""


class UnreadableError(Exception):
    """A file that was open cannot be read on: the disk's trouble, not the connection's."""


def read(descriptor: int, size: int) -> Iterator[bytes]:
    """Yield the next ``size`` bytes in chunks, fewer where the file ends before. Raises ``UnreadableError``."""
    left = size
    try:
        while left > 0:
            chunk = os.read(descriptor, min(CHUNK_BYTES, left))
            if not chunk:
                return
            left -= len(chunk)
            yield chunk
    except OSError as error:
        raise UnreadableError(error.strerror) from None


def decoded(path: bytes) -> str:
    """Return a path as it travels in JSON."""
    return path.decode("utf-8", "surrogateescape")


def encoded(path: str) -> bytes:
    """Return the path that ``decoded`` made a text of. Raises ``NotAFileError`` for a text that it cannot have made."""
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise NotAFileError("no file has such a name") from None


class RunFiles:
    """The files of one run, reached from descriptors of its folders, never through a link. A context manager."""

    def __init__(self, layout: Layout, run_id: object) -> None:
        self.skipped: List[Dict[str, str]] = []
        self.skipped_count = 0
        self._run: RunLayout = layout.run(run_id)  # type: ignore[arg-type]  # it checks what comes over the wire
        try:
            self._top = open_folder(self._run.folder)
        except FileNotFoundError:
            raise Refusal(NO_SUCH_RUN, "There is no run %s in %s" % (self._run.id, layout.root)) from None
        self._folders: Dict[bytes, int] = {}
        for name in FOLDERS:
            self._open_folder(name)
        self._inside = tuple(path + b"/" for path in map(_real_path, self._folders.values()) if path is not None)

    def __enter__(self) -> "RunFiles":
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (self._top, *self._folders.values()):
            os.close(descriptor)

    def _open_folder(self, name: bytes) -> None:
        try:
            code = open_folder(b"code", self._top)
            try:
                self._folders[name] = open_folder(name, code)
            finally:
                os.close(code)
        except OSError as error:
            if error.errno != errno.ENOENT:
                self._skip(name, _NO_FOLDER.get(error.errno or 0, error.strerror))

    def __iter__(self) -> Iterator[Tuple[bytes, bytes, int]]:
        """Yield path, name and the descriptor of the folder that holds it, of all that may be files."""
        for name in FILES:
            try:
                os.stat(name, dir_fd=self._top, follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield name, name, self._top
        for top, descriptor in self._folders.items():
            prefix = top + b"/"

            def on_error(path: bytes, error: OSError, prefix: bytes = prefix) -> None:
                self._skip(prefix + path, error.strerror)

            for listing in walk(descriptor, on_error):
                for name, kind in listing.names:
                    if kind:
                        yield prefix + listing.path + name, name, listing.descriptor
                    else:
                        self._skip(prefix + listing.path + name, "it is a FIFO, a socket or a device")

    def describe(
        self, path: bytes, name: bytes, folder: int, on_chunk: Optional[Callable[[], None]]
    ) -> Optional[Dict[str, Any]]:
        """Return what a list says about a file, or remember why it is left out.

        With ``on_chunk`` the file is hashed, and that is called while it is: a large one takes minutes.
        """
        try:
            file = self._open_file(name, folder)
        except (NotAFileError, OSError) as error:
            self._skip(path, error.strerror if isinstance(error, OSError) else str(error))
            return None
        size, sha256 = file.size, None
        try:
            if on_chunk is not None:
                digest = hashlib.sha256()
                size = 0
                for chunk in read(file.descriptor, file.size):
                    digest.update(chunk)
                    size += len(chunk)
                    on_chunk()
                sha256 = digest.hexdigest()
        except UnreadableError as error:
            self._skip(path, str(error))
            return None
        finally:
            os.close(file.descriptor)
        return {"path": decoded(path), "size": size, "sha256": sha256, "executable": file.executable}

    def open(self, path: bytes) -> OpenFile:
        """Open a file by its path. Raises ``NotAFileError`` for what is none of the run's, ``OSError``."""
        if path in FILES:
            return self._open_file(path, self._top)
        top, *inner = path.split(b"/")
        if top not in FOLDERS or not inner or any(part in (b"", b".", b"..") for part in inner) or b"\0" in path:
            raise NotAFileError("only files of outputs/ and logs/, %s can" % decoded(b", ".join(FILES)))
        if top not in self._folders:
            raise NotAFileError("%s is no folder" % decoded(top))
        descriptor = os.dup(self._folders[top])
        try:
            for folder in inner[:-1]:
                following = open_folder(folder, descriptor)
                os.close(descriptor)
                descriptor = following
            return self._open_file(inner[-1], descriptor)
        finally:
            os.close(descriptor)

    def _open_file(self, name: bytes, folder: int) -> OpenFile:
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        link = stat.S_ISLNK(facts.st_mode)
        if link:
            facts = _stat_through(name, folder)
        _check_regular(facts)  # before it is opened: that alone can mean something to a device
        descriptor = os.open(name, _READ | (0 if link else os.O_NOFOLLOW), dir_fd=folder)
        try:
            facts = os.fstat(descriptor)
            _check_regular(facts)
            if link:
                self._check_inside(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return OpenFile(descriptor, facts.st_size, bool(facts.st_mode & stat.S_IXUSR))

    def _check_inside(self, descriptor: int) -> None:
        path = _real_path(descriptor)
        if path is None or not path.startswith(self._inside):
            raise NotAFileError("it is a link that leaves outputs/ and logs/")

    def _skip(self, path: bytes, reason: Optional[str]) -> None:
        self.skipped_count += 1
        if len(self.skipped) < NAMED_SKIPPED:
            self.skipped.append({"path": decoded(path), "reason": reason or "it cannot be read"})


def _stat_through(link: bytes, folder: int) -> os.stat_result:
    try:
        return os.stat(link, dir_fd=folder)
    except OSError as error:
        raise NotAFileError("it is a link that leads nowhere: %s" % error.strerror) from None


def _check_regular(facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise NotAFileError("it is no regular file")


def _real_path(descriptor: int) -> Optional[bytes]:
    """Return where an open file lies, links resolved by the kernel that opened it; ``None`` where it does not say."""
    try:
        return os.readlink(b"/proc/self/fd/%d" % descriptor)
    except OSError:
        pass
    get_path = getattr(fcntl, "F_GETPATH", None)  # macOS
    return fcntl.fcntl(descriptor, get_path, bytes(1024)).rstrip(b"\0") if get_path is not None else None
