"""Images on an engine: found by name, fetched where they are missing."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import TargetRefusedError
from airflow_provider.scriptrun.targets.docker.engine import EngineError, full, is_full
from airflow_provider.scriptrun.targets.docker.labels import BASE, ENVIRONMENT, KIND_LABEL, VOLUME_LABEL, image_tag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider.scriptrun.targets.docker.engine import Engine
    from airflow_provider.scriptrun.targets.docker.registry import Registries
    from airflow_provider.scriptrun.targets.docker.settings import Registry

#: From the making of an image to its name, whatever the engine's clock says.
UNNAMED_S = 60.0
#: What a machine is called elsewhere than in images (https://github.com/opencontainers/image-spec, "GOARCH").
_MACHINES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "armhf": "arm"}


@dataclass(frozen=True)
class Image:
    """An image that is on the engine.

    :param name: as it was asked for.
    :param id: its content's.
    :param digest: by which a registry has it, else its id: another one as soon as the name is another image's.
    :param user: who runs in it; empty: root.
    :param config: what it says of containers made from it, as the engine's API has it.
    :param platform: what it runs on: ``linux/amd64``.
    :param size: bytes, with all that it shares with others.
    """

    name: str
    id: str
    digest: str
    user: str
    config: Mapping[str, Any] = field(default_factory=dict)
    platform: str = ""
    size: int = 0

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return self.config.get("Labels") or {}

    def is_for(self, platform: str | None) -> bool:
        """Whether it is for a platform; ``None``: whichever."""
        return platform is None or _system(self.platform) == _system(platform)


class Images:
    """The images of one engine."""

    def __init__(self, engine: Engine, registries: Registries) -> None:
        self._engine, self._registries = engine, registries

    def find(self, name: str) -> Image | None:
        """Return an image that is there; ``None``: it is not."""
        document = self._engine.image(name)
        return None if document is None else read_image(name, document)

    def get(self, name: str, own: Registry | None = None, platform: str | None = None) -> Image:
        """Return an image, fetched first where it is not there.

        :param own: a login that beats the connection's, for images of its registry.
        :param platform: ``linux/arm64``; ``None``: what the engine has or its machine is.
        :raises TargetRefusedError: it cannot be had, or not for this platform.
        """
        found = self.find(name)
        if found is not None and found.is_for(platform):
            return found
        fetched = self._registries.fetch(name, own, platform)
        if fetched.image is None:
            if is_full(fetched.why or ""):
                raise full(self._engine.name, f"There is no space left for the image {name}", fetched.why or "")
            raise TargetRefusedError(f"The image {name} cannot be fetched", why=fetched.why, advice=fetched.advice)
        return fetched.image

    def named(self, name: str) -> Image:
        """Return an image that was just made. Raises :class:`TargetRefusedError`: it is gone."""
        found = self.find(name)
        if found is None:
            raise TargetRefusedError(
                f"{self._engine.name} has made the image {name}, and does not have it",
                advice="Does somebody remove images there? The next try makes it again.",
            )
        return found

    def made_for(self, volume: str) -> list[str]:
        """Return the names of the images that were made for runs of a volume: environments, and of Dockerfiles."""
        beginnings = tuple(image_tag(volume, kind, "") for kind in (ENVIRONMENT, BASE))
        filters = {"reference": [f"{beginning}*" for beginning in beginnings]}
        listed = self._engine.call("its images", lambda client: client.images(filters=filters))
        return [tag for one in listed for tag in one.get("RepoTags") or () if tag.startswith(beginnings)]

    def superseded(self, volume: str) -> list[str]:
        """Return the ids of environments whose name another image has, made anew while a run was in them.

        One that was made just now may be about to get its name.
        """
        labels = [f"{VOLUME_LABEL}={volume}", f"{KIND_LABEL}={ENVIRONMENT}"]
        filters = {"dangling": True, "label": labels}
        listed = self._engine.call("its images", lambda client: client.images(filters=filters))
        return [str(one["Id"]) for one in listed if abs(time.time() - float(one["Created"])) > UNNAMED_S]

    def remove(self, name: str, *, parents: bool = True) -> None:
        """Remove an image, or its name where it has others; one that a container has stays.

        :param parents: also those below it that have no name and nothing else on them.
        """
        with suppress(EngineError):
            self._engine.call(f"the image {name}", lambda client: client.remove_image(name, noprune=not parents))


def read_image(name: str, document: Mapping[str, Any]) -> Image:
    """Return the image that an engine describes."""
    digests = document.get("RepoDigests") or []
    parts = (document.get("Os"), document.get("Architecture"), document.get("Variant"))
    return Image(
        name=name,
        id=str(document["Id"]),
        digest=str(digests[0]).partition("@")[2] if digests else str(document["Id"]),
        user=str((document.get("Config") or {}).get("User") or ""),
        config=document.get("Config") or {},
        platform="/".join(str(part) for part in parts if part),
        size=int(document.get("Size") or 0),
    )


def _system(platform: str) -> tuple[str, str]:
    """Return operating system and machine: a variant of the machine is the engine's to choose."""
    system, _, machine = platform.lower().partition("/")
    machine = machine.partition("/")[0]
    return system, _MACHINES.get(machine, machine)
