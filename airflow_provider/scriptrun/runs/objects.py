"""Whole objects under a root: written once, read in parts, listed.

Object storage has no append, rename or lock, so these have none either.

Local folders go through plain system calls (no import of fsspec, which costs more than the submission itself);
everything else goes through fsspec.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from airflow_provider.scriptrun.errors import WorkspaceError
from airflow_provider.scriptrun.supervisor.protocol.atomic import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Objects are read and written in pieces of this size.
PIECE_BYTES = 1024 * 1024
#: Parts of a multipart upload: what is held in memory; S3 allows 10,000 of them, so 160 GB per object.
UPLOAD_PART_BYTES = 16 * 1024 * 1024
#: How far a remote object is read ahead: a snapshot is read in the order in which it was written.
READ_AHEAD_BYTES = 8 * 1024 * 1024
#: What a killed writer left beside its place is removed after so long.
STALE_SECONDS = 24 * 3600
INCOMPLETE = ".incomplete"
#: Folders and files of a workspace are for their owner and group, as the umask has it.
FILE_MODE = 0o666


class Writer(Protocol):
    """Where the pieces of one object go."""

    def write(self, piece: bytes, /) -> Any:
        """Take the next piece."""


class ObjectStore(ABC):
    """Objects by relative ``/``-separated name. Every failure is a :class:`WorkspaceError` that names the object."""

    url: str  #: of the root, without a trailing slash
    is_local: bool

    @abstractmethod
    def put(self, name: str, data: bytes, *, durable: bool = False) -> None:
        """Write one small object as a whole; ``durable`` as for :meth:`writer`."""

    @abstractmethod
    def writer(self, name: str, *, durable: bool = False) -> contextlib.AbstractContextManager[Writer]:
        """Write one object in pieces. It exists, whole, once the block ends well; an exception leaves nothing.

        :param durable: it must survive a power loss, since nothing compares it with its hash before it is relied on.
        """

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """Open an object for reading and seeking; reads of the file itself raise errors of the file system's own."""

    @abstractmethod
    def explained(self, name: str, done: str) -> contextlib.AbstractContextManager[None]:
        """Within the block, turn the file system's own errors into :class:`WorkspaceError`: it cannot be ``done``."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Return an object's size; ``None`` when there is none."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Return the names directly in a folder, sorted; none when it does not exist."""

    @abstractmethod
    def walk(self, folder: str) -> dict[str, int]:
        """Return path (relative to ``folder``) and size of everything below a folder, sorted."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove one object, if it exists."""

    def read(self, name: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield an object's bytes in pieces."""
        with self.explained(name, "read"), self.open(name) as file:
            file.seek(offset)
            left = length
            while left is None or left > 0:
                piece = file.read(PIECE_BYTES if left is None else min(left, PIECE_BYTES))
                if not piece:
                    return
                yield piece
                if left is not None:
                    left -= len(piece)

    def get(self, name: str) -> bytes | None:
        """Return one small object as a whole; ``None`` when there is none."""
        return None if self.size(name) is None else b"".join(self.read(name))

    def put_json(self, name: str, value: Any) -> None:
        """Write a value as JSON. Raises :class:`WorkspaceError` for what JSON cannot hold."""
        try:
            text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise WorkspaceError(
                f"{self.uri(name)} cannot be written", why=f"the value is not plain JSON: {error}"
            ) from None
        self.put(name, text.encode("ascii"))

    def get_json(self, name: str) -> Any:
        """Return an object's JSON value; ``None`` when there is none. Raises :class:`WorkspaceError` for damage."""
        data = self.get(name)
        if data is None:
            return None
        try:
            return json.loads(data)
        except ValueError as error:
            raise WorkspaceError(f"{self.uri(name)} is damaged", why=str(error)) from None

    def stored_name(self, name: str) -> str:
        """Return the name under which an object is listed: object storage has no names that are not UTF-8."""
        return name

    def uri(self, name: str) -> str:
        """Return where an object lies, for a person or another program."""
        return f"{self.url}/{name}" if name else self.url


class LocalObjects(ObjectStore):
    """Files under a folder, each written beside its place and renamed into it."""

    is_local = True

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.abspath(Path(root).expanduser())  # noqa: PTH100 - resolve() would follow links of the user's
        self.url = self.root

    def path(self, name: str) -> str:
        """Return the file that holds an object."""
        return f"{self.root}/{name}" if name else self.root

    def put(self, name: str, data: bytes, *, durable: bool = False) -> None:  # noqa: D102
        with self.explained(name, "written"):
            path = self.path(name)
            try:
                write_atomic(path, data, mode=FILE_MODE, durable=durable)
            except FileNotFoundError:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, data, mode=FILE_MODE, durable=durable)

    @contextlib.contextmanager
    def writer(self, name: str, *, durable: bool = False) -> Iterator[Writer]:  # noqa: D102
        path = self.path(name)
        beside = f"{os.path.dirname(path)}/.{secrets.token_hex(8)}{INCOMPLETE}"  # noqa: PTH120
        with self.explained(name, "written"):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            file = open(beside, "xb", buffering=PIECE_BYTES)  # noqa: PTH123, SIM115
        try:
            yield _Explained(self, name, file)
            with self.explained(name, "written"):
                file.flush()
                if durable:
                    os.fsync(file.fileno())
                os.replace(beside, path)  # noqa: PTH105
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside)  # noqa: PTH108
            raise
        finally:
            with contextlib.suppress(OSError):  # a full disk is told about once, by what raised first
                file.close()

    def open(self, name: str) -> IO[bytes]:  # noqa: D102
        with self.explained(name, "read"):
            return open(self.path(name), "rb", buffering=0)  # noqa: PTH123

    def size(self, name: str) -> int | None:  # noqa: D102
        with self.explained(name, "read"):
            try:
                return os.stat(self.path(name)).st_size  # noqa: PTH116
            except (FileNotFoundError, NotADirectoryError):
                return None

    def names(self, folder: str) -> list[str]:  # noqa: D102
        with self.explained(folder, "listed"):
            try:
                return sorted(n for n in os.listdir(self.path(folder)) if not n.endswith(INCOMPLETE))  # noqa: PTH208
            except FileNotFoundError:
                return []

    def walk(self, folder: str) -> dict[str, int]:  # noqa: D102
        found: dict[str, int] = {}
        root = self.path(folder)
        with self.explained(folder, "listed"):
            for parent, _folders, files in os.walk(root):
                for name in files:
                    if not name.endswith((INCOMPLETE, ".tmp")):
                        path = os.path.join(parent, name)  # noqa: PTH118
                        found[os.path.relpath(path, root)] = os.stat(path).st_size  # noqa: PTH116
        return dict(sorted(found.items()))

    def remove(self, name: str) -> None:  # noqa: D102
        with self.explained(name, "removed"), contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(name))  # noqa: PTH108
            with contextlib.suppress(OSError):  # a folder is there while something is in it, as in object storage
                os.rmdir(os.path.dirname(self.path(name)))  # noqa: PTH106, PTH120

    def sweep(self, folder: str) -> None:
        """Remove what killed writers left in a folder a day ago or earlier."""
        with contextlib.suppress(OSError):
            for entry in os.scandir(self.path(folder)):
                if entry.name.endswith(INCOMPLETE) and entry.stat().st_mtime < time.time() - STALE_SECONDS:
                    os.unlink(entry.path)  # noqa: PTH108

    @contextlib.contextmanager
    def explained(self, name: str, done: str) -> Iterator[None]:  # noqa: D102
        try:
            yield
        except OSError as error:
            raise _explain(self.uri(name), done, error) from error


class RemoteObjects(ObjectStore):
    """Objects of any fsspec file system. An upload that is broken off is discarded."""

    is_local = False

    def __init__(self, file_system: Any, path: str, url: str) -> None:
        self._fs, self._path, self.url = file_system, path.rstrip("/"), url.rstrip("/")

    def put(self, name: str, data: bytes, *, durable: bool = False) -> None:  # noqa: ARG002, D102
        with self.explained(name, "written"):
            self._fs.pipe_file(self._at(name), data)

    @contextlib.contextmanager
    def writer(self, name: str, *, durable: bool = False) -> Iterator[Writer]:  # noqa: ARG002, D102
        # Leaving fsspec's own `with` by an exception would complete the upload of what has been written so far.
        with self.explained(name, "written"):
            file = self._fs.open(self._at(name), "wb", block_size=UPLOAD_PART_BYTES, autocommit=False)
        try:
            yield _Explained(self, name, file)
            with self.explained(name, "written"):
                file.close()
                file.commit()
        except BaseException:
            self._discard(name, file)
            raise

    def _discard(self, name: str, file: Any) -> None:
        with self.explained(name, "written"):
            try:
                file.discard()
            finally:
                if hasattr(file, "autocommit"):
                    file.closed = True  # its __del__ would upload what it holds
                else:
                    self.remove(name)  # a file system (memory://) that knows no upload: the object is there at once

    def open(self, name: str) -> IO[bytes]:  # noqa: D102
        with self.explained(name, "read"):
            file: IO[bytes] = self._fs.open(self._at(name), "rb", block_size=READ_AHEAD_BYTES, cache_type="readahead")
            return file

    def get(self, name: str) -> bytes | None:  # noqa: D102
        with self.explained(name, "read"):
            try:
                data: bytes = self._fs.cat_file(self._at(name))
            except FileNotFoundError:
                return None
            return data

    def size(self, name: str) -> int | None:  # noqa: D102
        with self.explained(name, "read"):
            self._fs.invalidate_cache()
            try:
                return int(self._fs.info(self._at(name))["size"])
            except FileNotFoundError:
                return None

    def names(self, folder: str) -> list[str]:  # noqa: D102
        with self.explained(folder, "listed"):
            self._fs.invalidate_cache()
            try:
                paths = self._fs.ls(self._at(folder), detail=False)
            except FileNotFoundError:
                return []
            return sorted({path.rstrip("/").rsplit("/", 1)[-1] for path in paths} - {""})

    def walk(self, folder: str) -> dict[str, int]:  # noqa: D102
        with self.explained(folder, "listed"):
            self._fs.invalidate_cache()
            root = self._at(folder)
            try:
                found = self._fs.find(root, detail=True)
            except FileNotFoundError:
                return {}
            prefix = self._fs._strip_protocol(root).rstrip("/") + "/"
            return {path.removeprefix(prefix): int(info["size"]) for path, info in sorted(found.items())}

    def remove(self, name: str) -> None:  # noqa: D102
        with self.explained(name, "removed"), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._at(name))

    def stored_name(self, name: str) -> str:  # noqa: D102
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    def _at(self, name: str) -> str:
        return f"{self._path}/{self.stored_name(name)}" if name else self._path

    @contextlib.contextmanager
    def explained(self, name: str, done: str) -> Iterator[None]:  # noqa: D102
        try:
            yield
        except (WorkspaceError, GeneratorExit):
            raise
        except Exception as error:
            # Every file system has errors of its own; botocore's, for one, are no OSError.
            raise _explain(self.uri(name), done, error) from error


class _Explained:
    """A writer whose errors are the object store's; those of the block that writes are its own."""

    def __init__(self, store: ObjectStore, name: str, file: IO[bytes]) -> None:
        self._store, self._name, self._file = store, name, file

    def write(self, piece: bytes, /) -> None:
        with self._store.explained(self._name, "written"):
            self._file.write(piece)


def open_store(root: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> ObjectStore:
    """Open a root: a path, a ``file://`` or any other fsspec URL, a ``upath.UPath``.

    Raises :class:`WorkspaceError` for a URL of an unknown kind, or one whose package is not installed.
    """
    file_system = getattr(root, "fs", None)
    if file_system is not None and not isinstance(root, Path):
        return RemoteObjects(file_system, str(getattr(root, "path", root)), str(root))
    text = os.fspath(root)
    if "://" not in text:
        return LocalObjects(text)
    if text.startswith("file://"):
        from urllib.parse import unquote, urlsplit

        return LocalObjects(unquote(urlsplit(text).path))
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # fsspec has no types

    try:
        file_system, path = url_to_fs(text, **dict(options or {}))
    except (ImportError, ValueError, TypeError) as error:
        raise WorkspaceError(
            f"The workspace {text} cannot be opened",
            why=str(error),
            advice="Install the fsspec package for this kind of URL",
        ) from error
    return RemoteObjects(file_system, path, text)


def _explain(uri: str, done: str, error: Exception) -> WorkspaceError:
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return WorkspaceError(
        f"{uri} cannot be {done}",
        why=why,
        advice="Check [scriptrun] workspace: that it exists, who may write there, its space",
    )
