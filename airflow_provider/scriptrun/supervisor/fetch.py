"""What a run leaves behind, listed and sent: files of its ``outputs/`` and ``logs/``, its logs and its messages."""

from typing import TYPE_CHECKING, Any, Dict

if TYPE_CHECKING:
    from .serve import Channel


def list_files(request: Dict[str, Any], channel: "Channel") -> None:
    """Answer ``list``."""
    raise NotImplementedError


def fetch(request: Dict[str, Any], channel: "Channel") -> None:
    """Answer ``fetch``."""
    raise NotImplementedError
