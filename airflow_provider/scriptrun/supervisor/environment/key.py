"""What names a recipe and an environment: hashes of everything that decides what is in it, and of nothing else."""

from typing import Any, Dict

from ..protocol.canonical import canonical_json, digest
from .python import Interpreter

#: Raised by one when what is built from the same lock changes, so that nothing built before is taken for it.
SCHEMA = 1
#: The part of a plan that says how to get at things, not what they are: never part of a key.
DELIVERY = "delivery"


def recipe_key(plan: Dict[str, Any], interpreter: Interpreter) -> str:
    """Return the name of a resolution: what was asked for, on which Python and platform; no credentials, no ages."""
    recipe = {name: value for name, value in plan.items() if name != DELIVERY}
    return digest(canonical_json({"schema": SCHEMA, "recipe": recipe, "target": interpreter.identity()}))


def environment_key(plan: Dict[str, Any], interpreter: Interpreter, lock: str) -> str:
    """Return the name of an environment: the lock, the target's Python and platform, indexes without credentials.

    Which tool builds it, and from which path, is not in it.
    """
    parts = {
        "schema": SCHEMA,
        "kind": plan["kind"],
        "lock": lock,
        "target": interpreter.identity(),
        "index": plan.get("index"),
    }
    return digest(canonical_json(parts))


def found_key(plan: Dict[str, Any], interpreter: Interpreter) -> str:
    """Return the name of an environment that we did not build: which interpreter it is, as far as that can be told."""
    parts = {
        "schema": SCHEMA,
        "kind": plan["kind"],
        "target": interpreter.identity(),
        "executable": interpreter.executable,
    }
    return digest(canonical_json(parts))
