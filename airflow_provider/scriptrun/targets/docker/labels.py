"""What containers, volumes and images of ours are labelled with and called, so that anyone can find them."""

from __future__ import annotations

from airflow_provider.scriptrun.targets.docker.engine import VOLUME_LABEL

#: What a container is for: :data:`RUN`, :data:`KEEPER` or :data:`BUILD`; what an image is: :data:`ENVIRONMENT`
#: (packages on a base image) or :data:`BASE` (made of a Dockerfile).
KIND_LABEL = "scriptrun.kind"
RUN, KEEPER, BUILD = "run", "keeper", "build"
ENVIRONMENT, BASE = "environment", "image"
RUN_LABEL = "scriptrun.run"
EXPERIMENT_LABEL = "scriptrun.experiment"

__all__ = [
    "BASE", "BUILD", "ENVIRONMENT", "EXPERIMENT_LABEL", "KEEPER", "KIND_LABEL", "RUN", "RUN_LABEL", "VOLUME_LABEL",
    "image_tag",
]  # fmt: skip


def image_tag(volume: str, kind: str, key: str) -> str:
    """Return the name of an image that is made for runs of a volume: ``scriptrun/environment:<key>``."""
    return f"{volume.lower()}/{kind}:{key}"
