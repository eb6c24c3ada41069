"""From a plan to an interpreter: the environment that a run's script uses, reused where it can be, built where not.

A plan is the JSON document that ``scriptrun/environments/plan.py`` makes on the worker; its form stands there.
"""

from typing import Any, Callable, Dict, Optional

from .environment_errors import EnvironmentFailed
from .environment_prepared import Prepared
from .layout import Layout

__all__ = ["EnvironmentFailed", "Prepared", "clean", "prepare"]


def prepare(layout: Layout, plan: Dict[str, Any], *, secrets: Dict[str, str], tools: Dict[str, str]) -> Prepared:
    """Return the environment that ``plan`` describes, building it first if it is not there.

    What the tools print goes to standard output, line by line, with every value of ``secrets`` (name -> value)
    replaced. ``tools`` may name programs (``uv``, ``conda``, ``mamba``, ``micromamba``: absolute paths); what it
    does not name is looked up on PATH. Blocks while another process builds the same environment, and says so.
    Raises ``EnvironmentFailed``.
    """
    makers: Dict[str, Callable[[Layout, Dict[str, Any], Dict[str, str], Dict[str, str]], Prepared]] = {
        "default": _found,
        "user_managed": _found,
        "existing_conda": _existing_conda,
        "pip": _made,
        "conda": _made,
    }
    maker = makers.get(plan.get("kind", ""))
    if maker is None or plan.get("schema") != 1:
        raise EnvironmentFailed(
            "This supervisor knows no environment of kind %r, form %r." % (plan.get("kind"), plan.get("schema")),
            "The provider on the worker is newer than what it installed here: let it install its own.",
        )
    try:
        return maker(layout, plan, secrets, {name: path for name, path in tools.items() if path})
    except OSError as error:
        from .builders import from_os_error  # noqa: PLC0415

        raise from_os_error(error, "The environment cannot be prepared") from error


def clean(layout: Layout, *, budget_bytes: Optional[int], max_age_s: Optional[float]) -> Dict[str, int]:
    """Remove environments, see :func:`environment_clean.clean`."""
    from .environment_clean import clean as clean_environments  # noqa: PLC0415

    return clean_environments(layout, budget_bytes=budget_bytes, max_age_s=max_age_s)


# A reuse takes a few milliseconds; so what only a build needs is imported by a build.


def _found(layout: Layout, plan: Dict[str, Any], secrets: Dict[str, str], tools: Dict[str, str]) -> Prepared:
    from .environment_found import prepare_found  # noqa: PLC0415

    return prepare_found(layout, plan)


def _existing_conda(layout: Layout, plan: Dict[str, Any], secrets: Dict[str, str], tools: Dict[str, str]) -> Prepared:
    from .environment_found import prepare_existing_conda  # noqa: PLC0415

    return prepare_existing_conda(layout, plan, tools)


def _made(layout: Layout, plan: Dict[str, Any], secrets: Dict[str, str], tools: Dict[str, str]) -> Prepared:
    from .environment_made import prepare_made  # noqa: PLC0415

    return prepare_made(layout, plan, secrets, tools)
