"""The one way a file is written: beside its place, then renamed into it, so that a reader sees all of it or none."""

from __future__ import annotations

import contextlib
import os

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Union


def write_atomic(path: str, data: Union[bytes, str], mode: int = 0o600, durable: bool = False) -> None:
    """Write ``data`` to ``path`` with permission bits ``mode``; a crash leaves the old file, or none, never a part.

    ``durable`` flushes file and folder to the disk first: for what must be believed after a power loss.
    Raises ``OSError``; the temporary file is gone then.
    """
    payload = data.encode("utf-8") if isinstance(data, str) else data
    temporary = "%s.%d.%s.tmp" % (path, os.getpid(), os.urandom(4).hex())
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            view = memoryview(payload)
            while view:
                view = view[os.write(descriptor, view) :]
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if durable:
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
