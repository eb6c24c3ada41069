"""What a recipe was resolved to, and when: kept, so that a reuse asks no index."""

import json
import time
from typing import Any, Dict, NamedTuple, Optional

from ..layout import Layout, make_folder
from ..protocol.atomic import write_atomic
from ..protocol.canonical import canonical_json


class KeptLock(NamedTuple):
    """The resolution of one recipe on this target."""

    lock: str  #: exact versions as a requirements file, with hashes where the index says them; no credentials
    environment: str  #: key of the environment that it makes
    resolved_at: float  #: seconds since the epoch
    retry_at: float = 0.0  #: not resolved again before this time: the index could not be reached last time

    def is_fresh(self, max_age_s: Optional[float], refresh: bool, now: float) -> bool:
        """Whether it stands in for asking an index again. A clock that was set back does not make it older."""
        if max_age_s is None:
            return not refresh
        return not refresh and (now - self.resolved_at < max_age_s or now < self.retry_at)


def load(layout: Layout, recipe: str) -> Optional[KeptLock]:
    """Return what ``recipe`` was resolved to, or ``None``: never, or the file is damaged and resolving repairs it."""
    try:
        with open(layout.environment_lock(recipe), "rb") as stream:
            kept = KeptLock(**json.loads(stream.read()))
    except (OSError, ValueError, TypeError):
        return None
    return kept if isinstance(kept.lock, str) and isinstance(kept.environment, str) else None


def save(layout: Layout, recipe: str, kept: KeptLock) -> None:
    """Keep ``kept`` under ``recipe``. Raises ``OSError``."""
    make_folder(layout.locks)
    write_atomic(layout.environment_lock(recipe), canonical_json(kept._asdict()))


def now() -> float:
    """Return seconds since the epoch."""
    return time.time()


def usable(layout: Layout, plan: Dict[str, Any], recipe: str) -> Optional[KeptLock]:
    """Return the recipe's lock where it may be used without asking an index."""
    delivery = plan["delivery"]
    kept = load(layout, recipe)
    if kept is None or not kept.is_fresh(delivery["lock_max_age_s"], delivery.get("refresh", False), now()):
        return None
    return kept
