"""Environments by uv: three processes, as by hand: compile, venv, sync. What it makes can be renamed into place."""

import os
from typing import List

from ...protocol.atomic import write_atomic
from . import Order, failure, format_options, requirement_files, requirement_text
from .index import with_placeholders, without_placeholders
from .tool import run, say


def resolve(order: Order) -> str:
    """Return exact versions of everything that the plan requires, with hashes where the index says them.

    Raises ``EnvironmentFailed``, ``IndexUnreachable`` among them.
    """
    plan = order.plan
    requirements = requirement_text(plan, "requirements")
    if not requirements:
        return ""
    if plan["options"].get("require_hashes"):
        return without_placeholders(plan, requirements)  # pip's rule: then every package stands in it, pinned
    say("resolving the requirements for Python %s with uv" % order.interpreter.version)
    lock = os.path.join(order.folder, "lock.txt")
    argv = [order.program, "pip", "compile", "--python", order.interpreter.executable]
    argv += ["--no-header", "--no-annotate", "--generate-hashes", "--quiet"]
    argv += requirement_files(order, requirements, requirement_text(plan, "constraints"))
    argv += format_options(plan) + _no_index(order)
    if plan["options"].get("pre"):
        argv += ["--prerelease", "allow"]
    ended = run(argv, environ=order.environ, secrets=order.secrets, output=lock)
    if ended.code:
        raise failure("uv cannot resolve the requirements", ended)
    with open(lock, encoding="utf-8") as stream:
        return without_placeholders(plan, stream.read())


def install(order: Order, lock: str, folder: str) -> None:
    """Make a virtual environment at ``folder`` that holds exactly ``lock``, its bytecode compiled."""
    make = [order.program, "venv", "--relocatable", "--no-project", "--python", order.interpreter.executable]
    ended = run([*make, "--quiet", folder], environ=order.environ, secrets=order.secrets)
    if ended.code:
        raise failure("uv cannot make a virtual environment", ended)
    if not lock.strip():
        return
    path = os.path.join(order.folder, "install.txt")
    write_atomic(path, with_placeholders(order.plan, lock))
    argv = [order.program, "pip", "sync", "--compile-bytecode", "--python", os.path.join(folder, "bin", "python"), path]
    argv += format_options(order.plan) + _no_index(order)
    if order.plan["options"].get("require_hashes"):
        argv.append("--require-hashes")
    ended = run(argv, environ=order.environ, secrets=order.secrets)
    if ended.code:
        raise failure("uv cannot install the requirements", ended)


def _no_index(order: Order) -> List[str]:
    """Return the option that keeps uv from asking any index. pip has the same by a variable, and uv reads none."""
    return ["--no-index"] if order.environ.get("UV_NO_INDEX") else []
