"""A workspace in object storage, or wherever else fsspec reaches."""

from __future__ import annotations

import contextlib
import logging
from typing import IO, TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import WorkspaceError
from airflow_provider.scriptrun.runs.objects import ExplainedWriter, ObjectStore, explain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider.scriptrun.runs.contents import Place
    from airflow_provider.scriptrun.runs.objects import Writer

_log = logging.getLogger(__name__)

#: Parts of a multipart upload: what is held in memory; S3 allows 10,000 of them, so 160 GB per object.
UPLOAD_PART_BYTES = 16 * 1024 * 1024
#: How far a remote object is read ahead: a snapshot is read in the order in which it was written.
READ_AHEAD_BYTES = 8 * 1024 * 1024


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
            yield ExplainedWriter(self, name, file)
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

    def mark(self, name: str) -> str:  # noqa: D102
        from airflow_provider.scriptrun.snapshot.address import found

        with self.explained(name, "read"):
            self._fs.invalidate_cache()
            facts = found(self._fs.info(self._at(name)))
        return facts.stamp if facts.is_settled else ""

    def copy(self, place: Place, sha256: str, name: str) -> bool:  # noqa: ARG002, D102
        # By the store itself, which cannot be asked for a sha256: the object must be as it was when that was verified.
        try:
            if not place.mark or self.mark(place.object) != place.mark:
                return False
            with self.explained(name, "copied"):
                self._fs.cp_file(self._at(place.object), self._at(name))
            return self.size(name) == place.size
        except WorkspaceError as error:
            _log.debug("%s is brought, not copied: %s", self.uri(name), error)
            return False

    def locate(self, uri: str) -> tuple[Any, str] | None:  # noqa: D102
        inside = uri.removeprefix(self.url)
        if inside == uri or (inside and not inside.startswith("/")):
            return None
        return self._fs, self._path + inside

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
            raise explain(self.uri(name), done, error) from error
