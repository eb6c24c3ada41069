"""From a plan to an interpreter: the environment that a run's script uses, reused where it can be, built where not.

A plan is the JSON document that ``scriptrun/environments/plan.py`` makes on the worker; its form stands there.
"""

from typing import Any, Dict, Mapping, Optional

from ..layout import Layout
from .errors import EnvironmentFailed
from .prepared import Prepared

_FOUND = ("default", "user_managed", "existing_conda")
_MADE = ("pip", "conda")
#: The image of a container holds it: what a target that makes images asks for, and no plan of a worker's.
_BUILT = "built"

__all__ = ["EnvironmentFailed", "Prepared", "clean", "is_made", "prepare"]


def prepare(layout: Layout, plan: Dict[str, Any], *, secrets: Dict[str, str], tools: Dict[str, str]) -> Prepared:
    """Return the environment that ``plan`` describes, building it first if it is not there.

    What the tools print goes to standard output, line by line, with every value of ``secrets`` (name -> value)
    replaced. ``tools`` may name programs (``uv``, ``conda``, ``mamba``, ``micromamba``: absolute paths); what it
    does not name is looked up on PATH. Blocks while another process builds the same environment, and says so.
    Raises ``EnvironmentFailed``.
    """
    kind = plan.get("kind")
    if kind not in (*_FOUND, *_MADE, _BUILT) or plan.get("schema") != 1:
        raise EnvironmentFailed(
            "This supervisor knows no environment of kind %r, form %r." % (plan.get("kind"), plan.get("schema")),
            "The provider on the worker is newer than what it installed here: let it install its own.",
        )
    named = {name: path for name, path in tools.items() if path}
    # A reuse takes about a millisecond, so what only another kind or a build needs is imported there.
    try:
        if kind == _BUILT:
            from .built import prepare_built

            return prepare_built(layout, plan)
        if kind in _MADE:
            from .made import prepare_made

            return prepare_made(layout, plan, secrets, named)
        from .found import prepare_found

        return prepare_found(layout, plan, named)
    except OSError as error:
        from .builders import from_os_error

        raise from_os_error(error, "The environment cannot be prepared") from error


def is_made(layout: Layout, plan: Mapping[str, Any]) -> bool:
    """Whether the environment of a plan is here and may be reused, so that nothing is to be built; it counts as used.

    In doubt it is not. Of a plan that cannot be met, ``prepare`` says why.
    """
    if plan.get("kind") not in _MADE:
        return True
    from .made import is_made as is_made_already

    try:
        return is_made_already(layout, dict(plan))
    except (EnvironmentFailed, OSError):
        return False


def clean(layout: Layout, *, budget_bytes: Optional[int], max_age_s: Optional[float]) -> Dict[str, int]:
    """Remove environments, see :func:`.budget.clean`."""
    from .budget import clean as clean_environments

    return clean_environments(layout, budget_bytes=budget_bytes, max_age_s=max_age_s)
