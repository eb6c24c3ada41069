"""The supervisor package as one archive: for the same sources the same bytes, and so the same version, everywhere.

Every process needs the version, which is read in about 2 ms; few need the archive itself, which is made when asked for.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING

from airflow_provider.scriptrun import supervisor
from airflow_provider.scriptrun.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The package's name on a target: nothing of Airflow's is there.
PACKAGE = "scriptrun_supervisor"
#: What ``python <folder>`` runs: that folder is the first entry of sys.path then.
MAIN = b"from scriptrun_supervisor.serve import main\n\nmain()\n"
#: The oldest time that a zip file can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_REGULAR_FILE_MODE = 0o100644 << 16
_UNIX = 3
_VERSION_DIGITS = 12


@dataclass(frozen=True)
class Archive:
    """What is sent to a target once per version.

    :param members: path -> content, in the order in which they are packed.
    :param release: version of the provider.
    """

    members: dict[str, bytes] = field(repr=False)
    release: str

    @cached_property
    def version(self) -> str:
        """``<version of the provider>-<12 hex>``: another byte in another place is another version."""
        digest = hashlib.sha256()
        for name, content in self.members.items():
            digest.update(b"%d:%s,%d:%s," % (len(name), name.encode("ascii"), len(content), content))
        return f"{self.release}-{digest.hexdigest()[:_VERSION_DIGITS]}"

    @cached_property
    def data(self) -> bytes:
        """The zip file. Stored, not deflated: compressors differ between machines and releases."""
        import io
        import zipfile

        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
            for name, content in self.members.items():
                info = zipfile.ZipInfo(name, _EPOCH)
                info.create_system, info.external_attr = _UNIX, _REGULAR_FILE_MODE
                file.writestr(info, content)
        return buffer.getvalue()


@cache
def supervisor_archive() -> Archive:
    """Return the archive of the supervisor that belongs to this release; its sources are read once per process."""
    return archive(supervisor.__path__[0], __version__)


def archive(folder: str, release: str) -> Archive:
    """Return the archive of every Python file below ``folder``."""
    members = {"__main__.py": MAIN, **{f"{PACKAGE}/{name}": content for name, content in _sources(folder, "")}}
    return Archive(dict(sorted(members.items())), release)


def _sources(folder: str, prefix: str) -> Iterator[tuple[str, bytes]]:
    # Path.rglob() takes three times as long, and every submission waits for it.
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir() and entry.name != "__pycache__":
                yield from _sources(entry.path, f"{prefix}{entry.name}/")
            elif entry.name.endswith(".py"):
                with open(entry.path, "rb", buffering=0) as file:  # noqa: PTH123
                    yield prefix + entry.name, file.read()
