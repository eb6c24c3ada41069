"""Images on an engine: found by name, fetched where they are missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import TargetRefusedError
from airflow_provider.scriptrun.targets.docker.engine import Engine, EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider.scriptrun.targets.docker.settings import Registry


@dataclass(frozen=True)
class Image:
    """An image that is on the engine.

    :param name: as it was asked for.
    :param id: its content's.
    :param digest: by which a registry has it, else its id: another one as soon as the name is another image's.
    :param user: who runs in it; empty: root.
    :param config: what it says of containers made from it, as the engine's API has it.
    """

    name: str
    id: str
    digest: str
    user: str
    config: Mapping[str, Any] = field(default_factory=dict)


class Images:
    """The images of one engine."""

    def __init__(self, engine: Engine, registry: Registry | None) -> None:
        self._engine, self._registry = engine, registry

    def find(self, name: str) -> Image | None:
        """Return an image that is there; ``None``: it is not."""
        document = self._engine.image(name)
        return None if document is None else _image(name, document)

    def get(self, name: str) -> Image:
        """Return an image, fetched first where it is not there. Raises :class:`TargetRefusedError`."""
        found = self.find(name)
        if found is not None:
            return found
        self._pull(name)
        found = self.find(name)
        if found is None:
            raise TargetRefusedError(f"{self._engine.name} has fetched the image {name}, and does not have it")
        return found

    def _pull(self, name: str) -> None:
        advice = "Is the name right, with its tag, and does the connection have a login to its registry?"
        try:
            for line in self._engine.call(
                f"the image {name}",
                lambda client: client.pull(
                    *_parts(name), stream=True, decode=True, auth_config=self._login(name), platform=None
                ),
            ):
                if "error" in line:
                    raise TargetRefusedError(
                        f"The image {name} cannot be fetched", why=str(line["error"])[:2000], advice=advice
                    )
        except EngineError as error:
            raise TargetRefusedError(f"The image {name} cannot be fetched", why=error.why, advice=advice) from None

    def _login(self, name: str) -> dict[str, str] | None:
        registry = self._registry
        if registry is None or registry.username is None or not _is_from(name, registry.host):
            return None
        return {"username": registry.username, "password": registry.password or ""}


def _image(name: str, document: dict[str, Any]) -> Image:
    digests = document.get("RepoDigests") or []
    return Image(
        name=name,
        id=str(document["Id"]),
        digest=str(digests[0]).partition("@")[2] if digests else str(document["Id"]),
        user=str((document.get("Config") or {}).get("User") or ""),
        config=document.get("Config") or {},
    )


def _parts(name: str) -> tuple[str, str | None]:
    """Return repository and tag (or digest) of an image's name."""
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(name)
    return repository, tag or "latest"


def _is_from(name: str, host: str) -> bool:
    first, slash, _ = name.partition("/")
    named = first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"
    return named == host
