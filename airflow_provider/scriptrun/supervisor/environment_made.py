"""Environments that we make: resolved once to a lock, built once per lock, reused by every run that needs the same."""

import os
from typing import Any, Dict, Optional, Tuple

from .environment_errors import EnvironmentFailed
from .environment_flock import exclusive
from .environment_kept_lock import KeptLock, load, now
from .environment_key import recipe_key
from .environment_prepared import Prepared
from .environment_python import Interpreter, find, own_base, program
from .environment_shelf import Complete, adopt
from .layout import EnvironmentLayout, Layout


def prepare_made(layout: Layout, plan: Dict[str, Any], secrets: Dict[str, str], tools: Dict[str, str]) -> Prepared:
    """Return the plan's environment; where it is there and its lock is fresh, by a few file reads and nothing else."""
    interpreter = _interpreter(layout, plan, tools)
    recipe = recipe_key(plan, interpreter)
    kept = _fresh(layout, plan, recipe)
    if kept is not None:
        complete = adopt(layout, kept.environment)
        if complete is not None:
            return _prepared(layout, plan, kept.environment, complete, reused=True, lock_reused=True)
    from .environment_making import build, resolve  # noqa: PLC0415 - a reuse needs none of it

    lock_reused = kept is not None
    if kept is None:
        with exclusive(layout.environment_flock(recipe), "another run that resolves the same requirements"):
            kept = _fresh(layout, plan, recipe)
            lock_reused = kept is not None
            if kept is None:
                kept = resolve(layout, plan, interpreter, recipe, secrets, tools)
    complete, reused = build(layout, plan, interpreter, kept, secrets, tools)
    return _prepared(layout, plan, kept.environment, complete, reused=reused, lock_reused=lock_reused)


def _fresh(layout: Layout, plan: Dict[str, Any], recipe: str) -> Optional[KeptLock]:
    delivery = plan["delivery"]
    kept = load(layout, recipe)
    if kept is None or not kept.is_fresh(delivery["lock_max_age_s"], delivery.get("refresh", False), now()):
        return None
    return kept


def _interpreter(layout: Layout, plan: Dict[str, Any], tools: Dict[str, str]) -> Interpreter:
    if plan["kind"] == "conda":
        return own_base()._replace(executable="", version="", implementation="", prefix="")  # conda brings its own
    wish = plan.get("python")
    return find(layout, wish, tools.get("uv") or program("uv")) if wish else own_base()


def _prepared(
    layout: Layout, plan: Dict[str, Any], key: str, complete: Complete, reused: bool, lock_reused: bool
) -> Prepared:
    parts: EnvironmentLayout = layout.environment_parts(key)
    variables = dict(plan["delivery"].get("variables") or {}, **complete.variables)
    if plan["kind"] == "pip":
        variables["VIRTUAL_ENV"] = parts.folder
    return Prepared(
        key=key,
        kind=plan["kind"],
        reused=reused,
        lock_reused=lock_reused,
        interpreter=parts.python,
        python=complete.python,
        bin_dirs=[parts.bin],
        variables=variables,
        packages=parts.packages,
        package_count=complete.packages,
        hold=parts.in_use,
    )
