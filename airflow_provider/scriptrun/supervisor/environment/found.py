"""Environments that are there already: the target's own interpreter, a named one, a conda environment. Only checked."""

import os
import sys
from typing import Any, Dict

from ..layout import Layout, make_folder
from ..protocol.atomic import write_atomic
from ..protocol.canonical import digest
from .errors import EnvironmentFailed
from .key import found_key
from .packages import package_list
from .prepared import Prepared
from .python import Interpreter, check_version, locate, probe


def prepare_found(layout: Layout, plan: Dict[str, Any], tools: Dict[str, str]) -> Prepared:
    """Return the interpreter that the plan names (none: the target's own), checked: it exists, it runs, its version."""
    if plan["kind"] == "existing_conda":
        return _existing_conda(layout, plan, tools)
    named = plan.get("interpreter")
    interpreter = probe(layout, locate(named) if named else sys.executable)
    check_version(interpreter, plan.get("python"))
    return _as_found(layout, plan, interpreter, {})


def _existing_conda(layout: Layout, plan: Dict[str, Any], tools: Dict[str, str]) -> Prepared:
    from .builders.conda import activation, find_environment

    prefix = find_environment(plan["conda"]["environment"], tools)
    python = os.path.join(prefix, "bin", "python")
    if not os.path.exists(python):
        raise EnvironmentFailed(
            "The conda environment %s holds no Python." % prefix, "Install one: conda install -p %s python" % prefix
        )
    interpreter = probe(layout, python)
    check_version(interpreter, plan.get("python"))
    return _as_found(layout, plan, interpreter, activation(prefix))


def _as_found(layout: Layout, plan: Dict[str, Any], interpreter: Interpreter, variables: Dict[str, str]) -> Prepared:
    packages = package_list(interpreter.path)
    path = layout.package_list(digest(packages.encode("utf-8")))
    if not os.path.exists(path):
        make_folder(layout.locks)
        write_atomic(path, packages)
    else:
        os.utime(path)
    variables = dict(plan["delivery"].get("variables") or {}, **variables)
    if os.path.exists(os.path.join(interpreter.prefix, "pyvenv.cfg")):
        variables.setdefault("VIRTUAL_ENV", interpreter.prefix)
    return Prepared(
        key=found_key(plan, interpreter),
        kind=plan["kind"],
        reused=bool(plan.get("reused", True)),  # no, where it is in an image that was built for this run
        lock_reused=True,
        interpreter=interpreter.executable,
        python=interpreter.version,
        bin_dirs=[os.path.dirname(interpreter.executable)],
        variables=variables,
        packages=path,
        package_count=packages.count("\n"),
        hold=None,
    )
