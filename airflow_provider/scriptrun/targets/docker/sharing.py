"""Images of ours in the connection's registry: what one engine has made, others fetch. Nothing depends on it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import TargetError
from airflow_provider.scriptrun.targets.docker.registry_answers import Answer

if TYPE_CHECKING:
    from airflow_provider.scriptrun.targets.docker.images import Image
    from airflow_provider.scriptrun.targets.docker.registry import Registries

log = logging.getLogger(__name__)


def fetched(registries: Registries, tag: str) -> Image | None:
    """Return an image that another engine has made and published; ``None``: there is none, or nobody can tell."""
    found = registries.fetch_shared(tag)
    if found.answer is Answer.UNKNOWN:
        log.warning("Whether %s has been built cannot be told, and so it is built here: %s", tag, found.why)
    return found.image


def publish(registries: Registries, tag: str) -> None:
    """Let other engines have an image that was made here. What keeps it from that is said in the log, and no more."""
    try:
        registries.publish_shared(tag)
    except TargetError as error:
        log.warning("%s is not shared, and other engines build it again: %s", tag, error)
