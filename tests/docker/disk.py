"""The disk of a private engine's machine, small enough to be filled."""

from __future__ import annotations

import os
from pathlib import Path

import docker

from tests.docker.engine import PrivateEngine

MEGABYTE = 1024 * 1024


class Disk:
    """A file system that an engine keeps its data on."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._filling = folder, folder / "filling"

    def fill(self, leave: int = 0) -> None:
        """Leave about so many bytes."""
        free = os.statvfs(self._folder).f_bavail * os.statvfs(self._folder).f_frsize
        with self._filling.open("ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), max(1, free - leave))

    def clear(self) -> None:
        """Give it back."""
        self._filling.unlink(missing_ok=True)


def containers(engine: PrivateEngine) -> list[str]:
    """Return the names of what is there, running or not, beside keepers."""
    client = docker.DockerClient(base_url=engine.url)
    try:
        return sorted(
            one.name for one in client.containers.list(all=True, ignore_removed=True) if "-keeper-" not in one.name
        )
    finally:
        client.close()


def images(engine: PrivateEngine) -> list[str]:
    """Return the names, or the ids, of what is there."""
    client = docker.DockerClient(base_url=engine.url)
    try:
        return sorted(tag for one in client.images.list(all=True) for tag in one.tags or [one.id])
    finally:
        client.close()
