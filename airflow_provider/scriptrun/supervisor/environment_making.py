"""Resolving a recipe and building its environment, whichever tool the target has; what a reuse never imports."""

import os
import shutil
import time
from types import ModuleType
from typing import Any, Dict, NamedTuple, Optional, Tuple

from . import builders_conda, builders_pip, builders_uv
from .builders import IndexUnreachable, Order
from .builders_index import pip_environment, uv_environment
from .builders_tool import say
from .environment_flock import exclusive
from .environment_kept_lock import KeptLock, load, now, save
from .environment_key import environment_key
from .environment_packages import package_list, site_folder
from .environment_python import Interpreter, probe, program
from .environment_shelf import Complete, adopt, publish, remove, sweep, write_complete
from .layout import Layout, make_folder
from .protocol.atomic import write_atomic

#: After an index could not be reached, the old lock is used without asking again for this long.
RETRY_UNREACHABLE_AFTER_S = 3600.0


class Tool(NamedTuple):
    """What builds: a module with ``resolve`` and ``install``, its program, and whether its work may be renamed."""

    name: str
    module: ModuleType
    program: str
    is_relocatable: bool


def choose_tool(plan: Dict[str, Any], interpreter: Interpreter, tools: Dict[str, str]) -> Tool:
    """Return what builds ``plan`` here: uv, else pip for requirements; conda or its like for packages of conda."""
    if plan["kind"] == "conda":
        name, path = builders_conda.find_program(tools)
        return Tool(name, builders_conda, path, is_relocatable=False)
    uv = tools.get("uv") or program("uv")
    if uv:
        return Tool("uv", builders_uv, uv, is_relocatable=True)
    return Tool("pip", builders_pip, interpreter.executable, is_relocatable=False)


def resolve(
    layout: Layout,
    plan: Dict[str, Any],
    interpreter: Interpreter,
    recipe: str,
    secrets: Dict[str, str],
    tools: Dict[str, str],
) -> KeptLock:
    """Resolve ``plan`` and keep the lock; the recipe's flock is held.

    Where no index can be reached, a lock that is too old is used, and said to be, unless a refresh was asked for.
    """
    tool = choose_tool(plan, interpreter, tools)
    sweep(layout, recipe)
    draft = make_folder(layout.environment_draft(recipe))
    try:
        lock = tool.module.resolve(_order(layout, plan, interpreter, tool, secrets, draft))
    except IndexUnreachable as error:
        old = load(layout, recipe)
        if old is None or plan["delivery"].get("refresh"):
            raise
        say("warning: %s" % error.message)
        age = (now() - old.resolved_at) / 86_400
        say("warning: using what the requirements were resolved to %.1f days ago" % age)
        kept = old._replace(retry_at=now() + RETRY_UNREACHABLE_AFTER_S)
    else:
        kept = KeptLock(lock, environment_key(plan, interpreter, lock), now())
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    save(layout, recipe, kept)
    return kept


def build(
    layout: Layout,
    plan: Dict[str, Any],
    interpreter: Interpreter,
    kept: KeptLock,
    secrets: Dict[str, str],
    tools: Dict[str, str],
) -> Tuple[Complete, bool]:
    """Return the environment of ``kept`` and whether somebody else had built it; else build it, once per target."""
    key = kept.environment
    complete = adopt(layout, key)
    if complete is not None:
        return complete, True
    with exclusive(layout.environment_flock(key), "environment %s, which another run is building" % key[:12]):
        complete = adopt(layout, key)
        if complete is not None:
            return complete, True
        tool = choose_tool(plan, interpreter, tools)
        started = time.monotonic()
        say("building environment %s with %s" % (key[:12], tool.name))
        sweep(layout, key)
        draft = make_folder(layout.environment_draft(key))
        try:
            complete = _build(layout, plan, interpreter, kept, tool, secrets, draft)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        seconds = time.monotonic() - started
        say("built environment %s: %d packages in %.1f s" % (key[:12], complete.packages, seconds))
        return complete, False


def _build(
    layout: Layout,
    plan: Dict[str, Any],
    interpreter: Interpreter,
    kept: KeptLock,
    tool: Tool,
    secrets: Dict[str, str],
    draft: str,
) -> Complete:
    order = _order(layout, plan, interpreter, tool, secrets, draft)
    final = layout.environment_parts(kept.environment)
    beside = os.path.join(draft, "environment")
    folder = beside if tool.is_relocatable else final.folder
    if not tool.is_relocatable:
        remove(layout, folder)
    tool.module.install(order, kept.lock, folder)
    parts = type(final)(folder)
    variables: Dict[str, str] = {}
    if plan["kind"] == "conda":
        interpreter = probe(layout, parts.python)
        variables = builders_conda.activation(folder)
    packages = package_list([site_folder(folder, interpreter.version, interpreter.implementation)])
    complete = Complete(interpreter.version, packages.count("\n"), tool.name, now(), variables)
    write_complete(parts, complete, packages)
    if tool.is_relocatable:
        publish(folder, layout, kept.environment)
    return complete


def _order(
    layout: Layout,
    plan: Dict[str, Any],
    interpreter: Interpreter,
    tool: Tool,
    secrets: Dict[str, str],
    draft: str,
) -> Order:
    ca_file: Optional[str] = None
    certificates = plan["delivery"].get("ca")
    if certificates:
        ca_file = os.path.join(draft, "ca.pem")
        write_atomic(ca_file, certificates)
    make_environ = uv_environment if tool.name == "uv" else pip_environment
    environ = make_environ(plan, secrets, os.environ, ca_file)
    return Order(plan, interpreter, tool.program, environ, list(secrets.values()), draft)
