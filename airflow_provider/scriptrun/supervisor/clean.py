"""Keeping a target within its disk budget."""

from typing import TYPE_CHECKING, Any, Dict

if TYPE_CHECKING:
    from .serve import Channel


def clean(request: Dict[str, Any], channel: "Channel") -> None:
    """Answer ``clean``."""
    raise NotImplementedError
