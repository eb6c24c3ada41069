"""What tests leave in an engine, told by its labels and names."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import docker
from docker.errors import APIError, NotFound

from tests.network import owner

#: The label that all has which the target makes in an engine; its value is the name of the store's volume.
LABEL = "scriptrun.volume"
#: Another one of its containers; its value says what a container is for.
KIND_LABEL = "scriptrun.kind"
_PREFIX = "scriptrun-test-"
#: From the end of a run, or of a build, to that of its container, on a busy machine.
GONE_S, _PAUSE_S = 30.0, 0.05


@dataclass(frozen=True)
class Found:
    """Names of what an engine has of some volumes, and of the volumes."""

    containers: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.containers or self.volumes or self.networks or self.images)

    def __str__(self) -> str:
        lines = [f"{kind}: {', '.join(names)}" for kind, names in vars(self).items() if names]
        return "\n".join(lines) or "nothing"


def containers_of(client: docker.DockerClient, volume: str, kind: str) -> list[str]:
    """Return the ids of a volume's containers of a kind, running or not. One may be removed at this moment."""
    labels = [f"{LABEL}={volume}", f"{KIND_LABEL}={kind}"]
    return [str(found["Id"]) for found in client.api.containers(all=True, filters={"label": labels})]


def until_none(look: Callable[[], list[str]]) -> None:
    """Return once ``look`` finds no container any more: an engine removes one a moment after it has ended."""
    deadline = time.monotonic() + GONE_S
    while left := look():
        assert time.monotonic() < deadline, left
        time.sleep(_PAUSE_S)


def new_volume() -> str:
    """Return a name for a store's volume that is nobody else's and says which process made it."""
    return f"{_PREFIX}{owner.new_name().removeprefix(f'{owner.PREFIX}-')}-{secrets.token_hex(3)}"


def own_prefix() -> str:
    """Return how the names of this process's volumes begin."""
    return f"{_PREFIX}{owner.new_name().removeprefix(f'{owner.PREFIX}-').rpartition('-')[0]}-"


class Leaks:
    """An engine as somebody sees it who looks for what was left behind."""

    def __init__(self, url: str) -> None:
        self._client = docker.DockerClient(base_url=url)

    def found(self, prefix: str) -> Found:
        """Return what belongs to the volumes whose names begin so; a whole name does for one volume."""
        return self._select(lambda volume: volume.startswith(prefix))

    def of(self, volume: str) -> Found:
        """Return what belongs to this volume, whose name may begin those of others."""
        return self._select(lambda name: name == volume)

    def remove(self, found: Found) -> None:
        """Remove it, running or not."""
        containers, images = self._client.containers, self._client.images
        for name in found.containers:
            with contextlib.suppress(NotFound, APIError):  # one that removes itself is faster
                containers.get(name).remove(force=True, v=True)
        for name in found.images:
            with contextlib.suppress(NotFound):
                images.remove(name, force=True)
        for name in found.networks:
            with contextlib.suppress(NotFound):
                self._client.networks.get(name).remove()
        for name in found.volumes:
            self._remove_volume(name)

    def _remove_volume(self, name: str) -> None:
        """Remove a volume; a container that is just being removed keeps it for a moment."""
        deadline = time.monotonic() + GONE_S
        while True:
            try:
                self._client.volumes.get(name).remove(force=True)
            except NotFound:
                return
            except APIError as error:
                if error.status_code != 409 or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_S)
            else:
                return

    def clear(self, volume: str) -> None:
        """Remove all of a volume; no container of a run or a build outlives its tests, but for a moment."""
        try:
            until_none(
                lambda: [*containers_of(self._client, volume, "run"), *containers_of(self._client, volume, "build")]
            )
        finally:
            self.remove(self.found(volume))

    def sweep(self) -> None:
        """Remove what processes left that are gone."""
        with owner.one_at_a_time("docker-sweep"):
            self.remove(self._select(_is_orphan))

    def close(self) -> None:
        self._client.close()

    def _select(self, wanted) -> Found:
        low = self._client.api
        everything = {
            "containers": [(_name(one), one["Labels"]) for one in low.containers(all=True)],
            "volumes": [(one["Name"], one["Labels"]) for one in low.volumes()["Volumes"] or []],
            "networks": [(one["Name"], one["Labels"]) for one in low.networks()],
            "images": [(name, one["Labels"]) for one in low.images() for name in _names(one)],
        }
        return Found(
            **{
                kind: sorted(name for name, labels in entries if wanted((labels or {}).get(LABEL, "")) or wanted(name))
                for kind, entries in everything.items()
            }
        )


def _name(container: dict) -> str:
    """Return a container's name; one that is being removed has lost it already, and is called by its id."""
    return container["Names"][0].lstrip("/") if container["Names"] else container["Id"]


def _names(image: dict) -> list[str]:
    """Return an image's tags; one that has lost them, or never had any, is called by its id."""
    return [tag for tag in image["RepoTags"] or () if tag != "<none>:<none>"] or [image["Id"]]


def _is_orphan(volume: str) -> bool:
    if not volume.startswith(_PREFIX):
        return False
    return owner.is_orphan("-".join([owner.PREFIX, *volume.removeprefix(_PREFIX).split("-")[:3]]))
