"""From a plan to an interpreter: the environment that a run's script uses, reused where it can be, built where not.

A plan is the JSON document that ``scriptrun/environments/plan.py`` makes on the worker; its form stands there.
"""

from typing import Any, Dict, List, NamedTuple, Optional

from .environment_errors import EnvironmentFailed
from .layout import Layout

__all__ = ["EnvironmentFailed", "Prepared", "clean", "prepare"]


class Prepared(NamedTuple):
    """An environment that is ready. Plain JSON values only: ``_asdict()`` travels from the child that prepares it.

    Whoever starts the script opens ``hold`` and takes a shared ``flock`` on it for as long as the run lives:
    that, and nothing else, says that the environment is in use. It does so within ten minutes, during which
    nothing that was just used is removed.
    """

    key: str  #: sha256 that names the environment: the run record's ``environment.id``
    kind: str  #: the plan's kind
    reused: bool  #: nothing was built (nor installed) for this run
    lock_reused: bool  #: the requirements had been resolved before; no index was asked
    interpreter: str  #: absolute path
    python: str  #: its version, for instance ``3.11.7``
    bin_dirs: List[str]  #: put first on the script's PATH, in this order
    variables: Dict[str, str]  #: for the script; the run's own variables win over them
    packages: Optional[str]  #: absolute path of the exact package list: ``name==version`` lines, sorted
    package_count: Optional[int]  #: how many lines that list has
    hold: Optional[str]  #: absolute path of the file to lock, see above; ``None`` where nothing can be removed


def prepare(layout: Layout, plan: Dict[str, Any], *, secrets: Dict[str, str], tools: Dict[str, str]) -> Prepared:
    """Return the environment that ``plan`` describes, building it first if it is not there.

    What the tools print goes to standard output, line by line, with every value of ``secrets`` (name -> value)
    replaced. ``tools`` may name programs (``uv``, ``conda``, ``mamba``, ``micromamba``: absolute paths); what it
    does not name is looked up on PATH. Blocks while another process builds the same environment, and says so.
    Raises ``EnvironmentFailed``.
    """
    raise NotImplementedError


def clean(layout: Layout, *, budget_bytes: Optional[int], max_age_s: Optional[float]) -> Dict[str, int]:
    """Remove environments: those not used for ``max_age_s`` seconds, then the least recently used until all take
    at most ``budget_bytes``; leftovers of killed builders; locks that nothing needs. ``None``: no such bound.

    Never one that a run holds, is being built, or was used within the last ten minutes.
    Returns ``{"environments": how many, "bytes": on disk}``.
    """
    raise NotImplementedError
