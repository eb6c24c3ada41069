"""Whole objects under a root: written once, read in parts, listed.

Object storage has no append, rename or lock, so these have none either.

Local folders go through plain system calls (no import of fsspec, which costs more than the submission itself);
everything else goes through fsspec.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from airflow_provider.scriptrun.errors import WorkspaceError

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterator, Mapping

    from airflow_provider.scriptrun.runs.contents import Place

_log = logging.getLogger(__name__)

#: Objects are read and written in pieces of this size.
PIECE_BYTES = 1024 * 1024


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

    def mark(self, name: str) -> str:  # noqa: ARG002
        """Return what changes with an object's content, as far as the store says so; empty: it says nothing."""
        return ""

    def copy(self, place: Place, sha256: str, name: str) -> bool:
        """Make ``name`` an object with the content that ``place`` once had, if that has it still; say whether it has.

        Whatever keeps it from being copied is no error: it can be had elsewhere.
        """
        digest = hashlib.sha256()
        try:
            if self.size(place.object) != place.size:
                return False
            with self.writer(name) as writer:
                for piece in self.read(place.object):
                    digest.update(piece)
                    writer.write(piece)
                if digest.hexdigest() != sha256:
                    raise WorkspaceError(f"{self.uri(place.object)} is not what it was")  # noqa: TRY301
        except WorkspaceError as error:
            _log.debug("%s is brought, not copied: %s", self.uri(name), error)
            return False
        return True

    def stored_name(self, name: str) -> str:
        """Return the name under which an object is listed: object storage has no names that are not UTF-8."""
        return name

    def locate(self, uri: str) -> tuple[Any, str] | None:  # noqa: ARG002
        """Return the fsspec file system and the path there of what lies at or below the root; ``None``: elsewhere."""
        return None

    def uri(self, name: str) -> str:
        """Return where an object lies, for a person or another program."""
        return f"{self.url}/{name}" if name else self.url


class ExplainedWriter:
    """A writer whose errors are the object store's; those of the block that writes are its own."""

    def __init__(self, store: ObjectStore, name: str, file: IO[bytes]) -> None:
        self._store, self._name, self._file = store, name, file

    def write(self, piece: bytes, /) -> None:
        """Take the next piece."""
        with self._store.explained(self._name, "written"):
            self._file.write(piece)


def open_store(root: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> ObjectStore:
    """Open a root: a path, a ``file://`` or any other fsspec URL, a ``upath.UPath``.

    Raises :class:`WorkspaceError` for a URL of an unknown kind, with a password, or whose package is not installed.
    """
    from airflow_provider.scriptrun.runs.local_objects import LocalObjects
    from airflow_provider.scriptrun.runs.remote_objects import RemoteObjects

    file_system = getattr(root, "fs", None)
    if file_system is not None and not isinstance(root, Path):
        return RemoteObjects(file_system, str(getattr(root, "path", root)), str(root))
    text = os.fspath(root)
    if "://" not in text:
        return LocalObjects(text)
    if text.startswith("file://"):
        from urllib.parse import unquote, urlsplit

        return LocalObjects(unquote(urlsplit(text).path))
    _refuse_password(text)
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


def _refuse_password(url: str) -> None:
    """A workspace's URL stands in records, links and logs."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if parts.password:
        shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        raise WorkspaceError(
            f"The URL of the workspace {shown} holds a password",
            advice="Give it as an option, which is kept secret: [scriptrun] workspace_options, or storage_options=",
        )


def explain(uri: str, done: str, error: Exception) -> WorkspaceError:
    """Return what a file system's own error means: that an object cannot be ``done``."""
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return WorkspaceError(
        f"{uri} cannot be {done}",
        why=why,
        advice="Check [scriptrun] workspace: that it exists, who may write there, its space",
    )
