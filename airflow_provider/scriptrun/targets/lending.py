"""Programs of ours that a target may borrow: ``uv``, as the package of that name brought it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import struct
import uuid
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_provider.scriptrun.errors import ProtocolError
from airflow_provider.scriptrun.supervisor.protocol.program import agrees
from airflow_provider.scriptrun.targets import parse
from airflow_provider.scriptrun.targets.ahead import Ahead
from airflow_provider.scriptrun.targets.pace import Packer
from airflow_provider.scriptrun.targets.sending import CHUNK_BYTES, ROOM

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from importlib.metadata import PackagePath

    from airflow_provider.scriptrun.targets.session import Session

UV = "uv"
#: Kinds of environments that it builds.
_BUILT_BY_UV = frozenset({"pip"})
#: It is written to the disk, and through to it, before it is answered for.
KEEPING_PATIENCE_S = 60.0
#: PEP 600 and PEP 656: the oldest C library that a wheel's programs run with, and their machine.
_PLATFORM_TAG = re.compile(r"^Tag: .*-(many|musl)linux_(\d+)_(\d+)_(\w+)$", re.MULTILINE)
_FAMILIES = {"many": "glibc", "musl": "musl"}


@dataclass(frozen=True)
class Program:
    """A program on this host.

    :param sha256: of its content, as whoever installed it noted; what arrives is checked against it.
    :param platform: what it needs: ``system``, ``machine``, and ``libc`` unless it needs none.
    """

    name: str
    path: str
    sha256: str
    size: int
    platform: Mapping[str, str]

    @cached_property
    def offer(self) -> dict[str, Any]:
        """What a start says of it."""
        return {"sha256": self.sha256, "size": self.size, "platform": dict(self.platform)}

    def runs_on(self, system: str, machine: str, libc: str | None) -> bool:
        """Whether it would run on a host of this platform, as far as can be told from here."""
        return agrees(self.platform, {"system": system, "machine": machine, "libc": libc})

    def chunks(self) -> Iterator[bytes]:
        """Yield its content. Raises ``OSError``."""
        with Path(self.path).open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def lend(self, session: Session, sender: str) -> bool:
        """Send it; return whether that was still to be done. Raises :class:`TargetError`: it cannot be kept there.

        :param sender: the same on each connection of one who sends.
        """
        packer = Packer()
        offer = {"op": "lend", "name": self.name, "sha256": self.sha256, "size": self.size, "sender": sender}
        session.put(offer)
        if not parse.is_wanted(session.in_turn()):
            session.done()
            return False
        with Ahead((packer.pack(chunk) for chunk in self.chunks()), ROOM) as chunks:
            session.put_data(packer.paced(chunks))
        session.answer(wait_s=KEEPING_PATIENCE_S)
        session.done()
        return True


class Lending:
    """What one host may borrow from this one, when it has none of its own."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._sender = uuid.uuid4().hex

    @property
    def programs(self) -> dict[str, Program]:
        """Those that there are, by name."""
        uv = own_uv()
        return {} if uv is None else {uv.name: uv}

    def offers(self, environment: Mapping[str, Any]) -> dict[str, Any]:
        """Return what to offer to a start, by name: nothing, where its environment is not for such a program."""
        if environment.get("kind") not in _BUILT_BY_UV:
            return {}
        return {name: program.offer for name, program in self.programs.items()}

    def lend(self, session: Session, names: Iterable[str]) -> tuple[str, ...]:
        """Send what a start asked for; return what nobody else had sent meanwhile. Raises :class:`TargetError`."""
        programs = self.programs
        sent = []
        for name in names:
            if name not in programs:
                raise ProtocolError(f"{self._host} asks for the program {name!r}, which nobody offered")
            if programs[name].lend(session, self._sender):
                sent.append(name)
        return tuple(sent)


@cache
def own_uv() -> Program | None:
    """Return the ``uv`` that this package's requirements bring; ``None`` where it is missing.

    Its sha256 and its platform were noted when it was installed, so that nobody reads 40 MB for them.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        from uv import find_uv_bin

        path = find_uv_bin()
        package = distribution(UV)
        size = Path(path).stat().st_size
    except (ImportError, OSError, PackageNotFoundError):
        return None
    noted = next((file for file in package.files or () if file.name == UV and _is_same(file, path)), None)
    return Program(UV, path, _sha256(path, size, noted), size, needs(path, package.read_text("WHEEL") or ""))


def _is_same(file: PackagePath, path: str) -> bool:
    try:
        return Path(str(file.locate())).samefile(path)
    except OSError:
        return False


def _sha256(path: str, size: int, noted: PackagePath | None) -> str:
    if noted is not None and noted.size == size and noted.hash is not None and noted.hash.mode == "sha256":
        value = noted.hash.value
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def needs(path: str, wheel: str) -> dict[str, str]:
    """Return the platform that a program of ours needs.

    :param wheel: the text of the file ``WHEEL`` beside it, whose tags say for which platforms it was built. Without
        such a tag: this host's, since it runs here.
    """
    names = os.uname()
    platform = {"system": names.sysname, "machine": names.machine}
    with Path(path).open("rb") as file:
        if is_static(file):
            return platform
    tags = [(_FAMILIES[kind], int(major), int(minor), machine) for kind, major, minor, machine in _tags(wheel)]
    if tags:
        family, major, minor, machine = min(tags)
        return {"system": "Linux", "machine": machine, "libc": f"{family} {major}.{minor}"}
    return {**platform, "libc": os.confstr("CS_GNU_LIBC_VERSION") or "unknown"}


def _tags(wheel: str) -> list[tuple[str, str, str, str]]:
    return _PLATFORM_TAG.findall(wheel)


#: elf(5), of 64 bits in little-endian order: where the program headers are, how long each is, and how many.
_ELF_MAGIC = b"\x7fELF\x02\x01"
_ELF_HEADER_BYTES, _ELF_TABLE_AT, _ELF_SIZES_AT = 64, 32, 54
#: The header that names what must be loaded before the program: the C library's own loader.
_PT_INTERP = 3


def is_static(file: BinaryIO) -> bool:
    """Whether a program for Linux brings its C library with it."""
    header = file.read(_ELF_HEADER_BYTES)
    if len(header) < _ELF_HEADER_BYTES or not header.startswith(_ELF_MAGIC):
        return False
    (offset,) = struct.unpack_from("<Q", header, _ELF_TABLE_AT)
    size, count = struct.unpack_from("<HH", header, _ELF_SIZES_AT)
    if size < struct.calcsize("<I") or not count:
        return False
    file.seek(offset)
    table = file.read(size * count)
    if len(table) < size * count:
        return False
    return all(struct.unpack_from("<I", table, size * entry)[0] != _PT_INTERP for entry in range(count))
