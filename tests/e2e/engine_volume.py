"""The volume of a Docker engine in which a target keeps everything, seen by somebody who need not be root."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import docker
from docker.errors import NotFound

from tests.docker.leaks import Leaks, new_volume

if TYPE_CHECKING:
    from types import TracebackType

_MOUNTED_AT = "/volume"


class EngineVolume:
    """A new name for a volume of an engine. A context: at its end all that is of it there is removed.

    :param url: of the engine.
    :param image: any that the engine has.
    """

    def __init__(self, url: str, image: str) -> None:
        self.name = new_volume()
        self._client, self._leaks, self._image = docker.DockerClient(base_url=url), Leaks(url), image

    def __enter__(self) -> EngineVolume:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leaks.remove(self._leaks.of(self.name))
        self._leaks.close()
        self._client.close()

    def read(self, path: str) -> bytes:
        """Return the content of a file in it, by way of a container that never runs."""
        mount = {self.name: {"bind": _MOUNTED_AT, "mode": "ro"}}
        container = self._client.containers.create(self._image, "true", name=f"{self.name}-reader", volumes=mount)
        try:
            chunks, _ = container.get_archive(f"{_MOUNTED_AT}/{path}")
            with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
                member = archive.extractfile(archive.next())
                return member.read()
        finally:
            container.remove()

    def has_container(self, run_id: str) -> bool:
        """Whether there is a container of a run, running or not."""
        try:
            self._client.containers.get(f"{self.name}-{run_id}")
        except NotFound:
            return False
        return True
