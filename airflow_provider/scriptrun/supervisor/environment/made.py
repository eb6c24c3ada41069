"""Environments that we make: resolved once to a lock, built once per lock, reused by every run that needs the same."""

import os
from typing import Any, Dict

from ..layout import Layout
from .kept_lock import usable
from .key import recipe_key
from .prepared import Prepared
from .python import Interpreter, own_base
from .search import find, known
from .shelf import Complete, adopt, of_complete


def prepare_made(layout: Layout, plan: Dict[str, Any], secrets: Dict[str, str], tools: Dict[str, str]) -> Prepared:
    """Return the plan's environment; where it is there and its lock is fresh, by a few file reads and nothing else."""
    interpreter = _interpreter(layout, plan, tools)
    recipe = recipe_key(plan, interpreter)
    kept = usable(layout, plan, recipe)
    if kept is not None:
        os.utime(layout.environment_lock(recipe))  # a clean removes locks that nothing has used for long
        complete = adopt(layout, kept.environment)
        if complete is not None:
            return _prepared(layout, plan, kept.environment, complete, reused=True, lock_reused=True)
    from .making import Workshop

    made = Workshop(layout, plan, interpreter, secrets, tools).make(recipe, kept)
    return _prepared(layout, plan, made.key, made.complete, reused=made.reused, lock_reused=made.lock_reused)


def is_made(layout: Layout, plan: Dict[str, Any]) -> bool:
    """Whether ``prepare_made`` would build nothing. Looks for no interpreter that is not known yet."""
    wish = plan.get("python")
    interpreter = known(layout, wish) if wish else own_base()
    kept = usable(layout, plan, recipe_key(plan, interpreter)) if interpreter is not None else None
    return kept is not None and adopt(layout, kept.environment) is not None


def _interpreter(layout: Layout, plan: Dict[str, Any], tools: Dict[str, str]) -> Interpreter:
    if plan["kind"] == "conda":  # it brings a Python of its own; ours does not matter
        return own_base()._replace(executable="", version="", implementation="", prefix="")
    wish = plan.get("python")
    return find(layout, wish, tools.get("uv")) if wish else own_base()


def _prepared(
    layout: Layout, plan: Dict[str, Any], key: str, complete: Complete, reused: bool, lock_reused: bool
) -> Prepared:
    parts = layout.environment_parts(key)
    return of_complete(
        parts,
        complete,
        plan["kind"],
        key,
        plan["delivery"],
        reused=reused,
        lock_reused=lock_reused,
        hold=parts.in_use,
    )
