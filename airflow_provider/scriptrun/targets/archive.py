"""The supervisor package as one archive: for the same sources the same bytes, and so the same version, everywhere."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from airflow_provider import scriptrun

#: The package's name on a target: nothing of Airflow's is there.
PACKAGE = "scriptrun_supervisor"
#: What ``python <folder>`` runs. ``-I`` leaves the folder itself as the first entry of sys.path.
MAIN = b"from scriptrun_supervisor.serve import main\n\nmain()\n"
#: The oldest time that a zip file can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_REGULAR_FILE_MODE = 0o100644 << 16
_UNIX = 3


@dataclass(frozen=True)
class Archive:
    """What is sent to a target once per version.

    :param version: ``<version of the provider>-<first 12 digits of the sha256 of data>``.
    :param data: the zip file.
    """

    version: str
    data: bytes


@cache
def supervisor_archive() -> Archive:
    """Return the archive of the supervisor that belongs to this release; read once per process."""
    return archive(Path(scriptrun.__file__).parent / "supervisor", scriptrun.__version__)


def archive(folder: Path, release: str) -> Archive:
    """Return the archive of every Python file below ``folder``.

    Stored, not deflated: compressors differ between machines and releases, and bytes are what is hashed.
    """
    sources = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.py")}
    members = {"__main__.py": MAIN, **{f"{PACKAGE}/{name}": data for name, data in sources.items()}}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr = _UNIX, _REGULAR_FILE_MODE
            file.writestr(info, members[name])
    data = buffer.getvalue()
    return Archive(f"{release}-{hashlib.sha256(data).hexdigest()[:12]}", data)
