"""An environment that the image of a container holds: taken as it is, by one file read."""

from typing import Any, Dict

from ..layout import Layout, check_sha256
from .errors import EnvironmentFailed
from .prepared import Prepared
from .shelf import of_complete, read_complete


def prepare_built(layout: Layout, plan: Dict[str, Any]) -> Prepared:
    """Return the environment ``key`` of a plan of kind ``built``; nobody can remove it while the container lives."""
    key = check_sha256(plan.get("key"))
    parts = layout.environment_parts(key)
    complete = read_complete(parts)
    if complete is None:
        raise EnvironmentFailed(
            "The image holds no environment %s at %s." % (key[:12], parts.folder),
            "Remove the image: the next run builds it again.",
        )
    return of_complete(
        parts,
        complete,
        plan["of"],
        key,
        plan["delivery"],
        reused=plan["reused"],
        lock_reused=plan["reused"],
        hold=None,
    )
