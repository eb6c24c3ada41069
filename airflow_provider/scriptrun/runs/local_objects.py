"""A workspace in a folder: plain system calls, without fsspec, whose import costs more than the submission itself."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from airflow_provider.scriptrun.runs.objects import PIECE_BYTES, ExplainedWriter, ObjectStore, explain
from airflow_provider.scriptrun.supervisor.protocol.atomic import AtomicFile, is_temporary, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider.scriptrun.runs.objects import Writer

#: What a killed writer left beside its place is removed after so long.
STALE_SECONDS = 24 * 3600
#: Folders and files of a workspace are for their owner and group, as the umask has it.
FILE_MODE = 0o666


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
        with self.explained(name, "written"):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            whole = AtomicFile(path, mode=FILE_MODE, durable=durable)
        with whole:
            file = open(whole.descriptor, "wb", buffering=PIECE_BYTES, closefd=False)  # noqa: SIM115
            try:
                yield ExplainedWriter(self, name, file)
                with self.explained(name, "written"):
                    file.flush()
            finally:
                with contextlib.suppress(OSError):  # a full disk is told about once, by what raised first
                    file.close()
            with self.explained(name, "written"):
                whole.commit()

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
                return sorted(n for n in os.listdir(self.path(folder)) if not is_temporary(n))  # noqa: PTH208
            except FileNotFoundError:
                return []

    def walk(self, folder: str) -> dict[str, int]:  # noqa: D102
        found: dict[str, int] = {}
        root = self.path(folder)
        with self.explained(folder, "listed"):
            for parent, _folders, files in os.walk(root):
                for name in files:
                    if not is_temporary(name):
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
                if is_temporary(entry.name) and entry.stat().st_mtime < time.time() - STALE_SECONDS:
                    os.unlink(entry.path)  # noqa: PTH108

    @contextlib.contextmanager
    def explained(self, name: str, done: str) -> Iterator[None]:  # noqa: D102
        try:
            yield
        except OSError as error:
            raise explain(self.uri(name), done, error) from error
