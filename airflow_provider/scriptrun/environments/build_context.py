"""A folder that a Dockerfile is built in: what of it an engine is sent, and the digest that names it.

``.dockerignore`` is honoured by Docker's own SDK: ``<Dockerfile>.dockerignore`` where there is one, else the folder's.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from airflow_provider.scriptrun.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

IGNORE_FILE = ".dockerignore"
#: Read at once of a file.
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class BuildContext:
    """A build context on this machine.

    :param folder: absolute.
    :param dockerfile: the Dockerfile in it, relative.
    """

    folder: Path
    dockerfile: str

    @classmethod
    def of(cls, folder: Path, dockerfile: str) -> BuildContext:
        """Return the build context in a folder. Raises :class:`ConfigurationError`: nothing can be built there."""
        folder = folder.absolute()
        if not folder.is_dir():
            raise ConfigurationError(
                f"environment.docker.build_context: there is no folder {folder}",
                advice="Correct its directory; it is relative to the DAG file in a task.",
            )
        within = os.path.relpath(folder / dockerfile, folder)
        if within.startswith("..") or not (folder / within).is_file():
            raise ConfigurationError(
                f"environment.docker.build_context: there is no file {dockerfile} in {folder}",
                advice="Correct dockerfile_path: the Dockerfile stands in the folder.",
            )
        return cls(folder, within)

    def paths(self) -> list[str]:
        """Return what is sent, relative to the folder, sorted. Raises :class:`ConfigurationError`: it cannot be."""
        from docker.utils.build import exclude_paths

        try:
            return sorted(exclude_paths(str(self.folder), self._ignored(), dockerfile=self.dockerfile))
        except OSError as error:
            raise self._unreadable(error) from error

    def digest(self) -> str:
        """Return the sha256 over paths, types, executable bits and contents. Raises :class:`ConfigurationError`."""
        found = hashlib.sha256()
        for path in self.paths():
            _add(found.update, *self._described(path))
        return found.hexdigest()

    def write_archive(self, file: IO[bytes], digest: str) -> None:
        """Write what is sent as a tar archive, in which owners, times and the umask make no difference.

        :param digest: what it must have: what is built is what was hashed.
        :raises ConfigurationError: the folder has another one by now, or cannot be read.
        """
        found = hashlib.sha256()
        with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for path in self.paths():
                kind, executable, content = self._kind(path)
                item = tarfile.TarInfo(path)
                item.mode = 0o755 if executable or kind == b"directory" else 0o644
                if kind == b"directory":
                    item.type = tarfile.DIRTYPE
                elif kind == b"link":
                    item.type, item.linkname = tarfile.SYMTYPE, os.fsdecode(content)
                if kind == b"file":
                    content = self._add_file(archive, item)
                else:
                    archive.addfile(item)
                _add(found.update, os.fsencode(path), kind, executable, content)
        if found.hexdigest() != digest:
            raise ConfigurationError(
                f"The build context {self.folder} changed while it was read", advice="Start the run again."
            )

    def _ignored(self) -> list[str]:
        for name in (f"{self.dockerfile}{IGNORE_FILE}", IGNORE_FILE):
            try:
                lines = (self.folder / name).read_text("utf-8").splitlines()
            except FileNotFoundError:
                continue
            except UnicodeDecodeError as error:
                raise ConfigurationError(f"{self.folder / name} is no text: {error}") from error
            return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        return []

    def _described(self, path: str) -> tuple[bytes, ...]:
        kind, executable, content = self._kind(path)
        if kind == b"file":
            hashed = hashlib.sha256()
            for chunk in self._chunks(path):
                hashed.update(chunk)
            content = hashed.digest()
        return os.fsencode(path), kind, executable, content

    def _kind(self, path: str) -> tuple[bytes, bytes, bytes]:
        """Return what there is, whether it is executable, and where it leads if it is a link."""
        try:
            found = os.lstat(self.folder / path)
            if stat.S_ISLNK(found.st_mode):
                return b"link", b"", os.fsencode((self.folder / path).readlink())
        except OSError as error:
            raise self._unreadable(error) from error
        if stat.S_ISDIR(found.st_mode):
            return b"directory", b"", b""
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError(
                f"The build context {self.folder} has {path}, which is neither a file nor a folder nor a link",
                advice=f"Remove it, or name it in {IGNORE_FILE}.",
            )
        return b"file", b"x" if found.st_mode & stat.S_IXUSR else b"", b""

    def _chunks(self, path: str) -> Iterator[bytes]:
        try:
            with (self.folder / path).open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise self._unreadable(error) from error

    def _add_file(self, archive: tarfile.TarFile, item: tarfile.TarInfo) -> bytes:
        try:
            with (self.folder / item.name).open("rb") as file:
                item.size = os.fstat(file.fileno()).st_size
                hashing = _Hashing(file)
                archive.addfile(item, hashing)
        except OSError as error:
            raise self._unreadable(error) from error
        return hashing.hashed.digest()

    def _unreadable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            f"The build context {self.folder}: {error.filename} cannot be read",
            why=error.strerror,
            advice=f"Make it readable, or name it in {IGNORE_FILE}.",
        )


class _Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.hashed = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self.hashed.update(chunk)
        return chunk


def _add(update: Callable[[bytes], None], *parts: bytes) -> None:
    for part in parts:
        update(len(part).to_bytes(8, "big"))
        update(part)
