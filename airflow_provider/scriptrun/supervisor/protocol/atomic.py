"""The one way a file is written: beside its place, then renamed into it, so that a reader sees all of it or none."""

from __future__ import annotations

import contextlib
import os

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Optional, Type, Union

#: How the names of files end that are still being written, or were when their writer was killed.
TEMPORARY = ".tmp"


class AtomicFile:
    """A file that takes its place when the block ends well; an exception leaves the old file, or none.

    :param mode: permission bits, less the umask.
    :param durable: flush file and folder to the disk first: for what must be believed after a power loss.
    :raises OSError: it cannot be opened, written or put in its place; the temporary file is gone then.
    """

    __slots__ = ("_durable", "_path", "_temporary", "descriptor")

    def __init__(self, path: str, mode: int = 0o600, durable: bool = False) -> None:
        self._path, self._durable = path, durable
        # Not the name with something behind it: a name may be as long as the file system lets it be.
        name = ".%d.%s%s" % (os.getpid(), os.urandom(4).hex(), TEMPORARY)
        self._temporary = os.path.join(os.path.dirname(path), name)
        #: For writing; -1 once it has taken its place, or was given up.
        self.descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], *_: object) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()

    def write(self, data: Union[bytes, memoryview]) -> None:
        """Write all of ``data`` behind what there is."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.descriptor, view) :]

    def commit(self) -> None:
        """Put it in its place, unless that was done, or it was given up."""
        if self.descriptor < 0:
            return
        try:
            if self._durable:
                os.fsync(self.descriptor)
            self._close()
            os.replace(self._temporary, self._path)
        except BaseException:
            self.discard()
            raise
        if self._durable:
            folder = os.open(os.path.dirname(self._path) or ".", os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        """Remove what was written, unless it has taken its place."""
        if self.descriptor >= 0:
            with contextlib.suppress(OSError):  # a full disk is told about once, by what raised first
                self._close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary)

    def _close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        os.close(descriptor)


def write_atomic(path: str, data: Union[bytes, str], mode: int = 0o600, durable: bool = False) -> None:
    """Write ``data`` to ``path``; see :class:`AtomicFile`."""
    with AtomicFile(path, mode, durable) as file:
        file.write(data.encode("utf-8") if isinstance(data, str) else data)


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that is being written, or that a killed writer left."""
    if not (name.startswith(".") and name.endswith(TEMPORARY)):
        return False
    process, _, random = name[1 : -len(TEMPORARY)].partition(".")
    return process.isdigit() and len(random) == 8
