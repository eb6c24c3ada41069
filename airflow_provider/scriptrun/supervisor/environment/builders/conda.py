"""Environments by conda, mamba or micromamba: solved and built in one step, in place, the mark written last.

The programs are the seam that the tests put a small script in place of: this module runs
``micromamba create --yes --prefix P --file F``, ``conda env create --prefix P --file F``, ``conda env list --json``.
"""

import glob
import json
import os
import subprocess
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ...hello import which
from ...protocol.atomic import write_atomic
from ...protocol.canonical import canonical_json
from ..errors import EnvironmentFailed
from ..kept_lock import now
from . import Order, failure
from .index import machine_environment
from .tool import run, say

#: The fastest first.
_PROGRAMS = ("micromamba", "mamba", "conda")
#: Where installers put it: a shell that is no login shell often has none of these on PATH.
_USUAL_PLACES = ("~/miniforge3", "~/mambaforge", "~/miniconda3", "~/anaconda3", "~/micromamba", "/opt/conda")
_ADVICE = (
    "Install one of them on the target so that it is on PATH, or write requirements that pip alone can install: "
    "a specification of only python and pip needs none of them."
)
#: Sources what packages bring for their activation, then prints the variables; a constant: nothing is spliced in.
_ACTIVATE = 'for script in "$CONDA_PREFIX"/etc/conda/activate.d/*.sh; do . "$script"; done >&2; exec env -0'
#: What a shell sets for itself; PATH is made from an environment's folders.
_SHELL_VARIABLES = ("_", "SHLVL", "PWD", "OLDPWD", "PATH", "PS1", "CONDA_PREFIX")


class NoConda(EnvironmentFailed):
    """The target has no conda-like program."""


def find_program(tools: Mapping[str, str]) -> Tuple[str, str]:
    """Return (name, path) of the conda-like program to use. Raises ``EnvironmentFailed`` where there is none."""
    for name in _PROGRAMS:
        path = tools.get(name) or which(name)
        if path:
            return name, path
    for variable, name in (("MAMBA_EXE", "micromamba"), ("CONDA_EXE", "conda")):
        path = os.environ.get(variable, "")
        if path and os.access(path, os.X_OK):
            return name, path
    for place in _USUAL_PLACES:
        for name in _PROGRAMS:
            path = os.path.join(os.path.expanduser(place), "bin", name)
            if os.access(path, os.X_OK):
                return name, path
    raise NoConda(
        "The environment asks for packages of conda, and the target has neither conda nor mamba nor micromamba.",
        _ADVICE,
    )


def resolve(order: Order) -> str:
    """Return a lock that stands for one solution: conda solves while it builds, so another is another environment."""
    return canonical_json({"specification": specification(order.plan), "solved_at": now()}).decode("ascii")


def specification(plan: Dict[str, Any]) -> Dict[str, Any]:
    """Return the plan as the content of an ``environment.yml``."""
    conda = plan["conda"]
    dependencies: List[Any] = list(conda["packages"])
    if plan["requirements"]:
        dependencies.append({"pip": list(plan["requirements"])})
    return {"channels": list(conda["channels"]) or ["conda-forge"], "dependencies": dependencies}


def install(order: Order, lock: str, folder: str) -> None:
    """Make a conda environment at ``folder``, its final place: conda's environments cannot be moved."""
    path = os.path.join(order.folder, "environment.yml")
    write_atomic(path, canonical_json(json.loads(lock)["specification"]))  # JSON is YAML
    name = os.path.basename(order.program)
    say("solving and installing with %s" % name)
    argv = [order.program, "create", "--yes"] if name == "micromamba" else [order.program, "env", "create"]
    ended = run([*argv, "--prefix", folder, "--file", path], environ=order.environ, secrets=order.secrets)
    if ended.code:
        raise failure("%s cannot make the environment" % name, ended)
    if not os.path.exists(os.path.join(folder, "bin", "python")):
        raise EnvironmentFailed(
            "The conda environment holds no Python.",
            "Add python to the specification's dependencies, with its version.",
        )


def find_environment(name: str, tools: Mapping[str, str]) -> str:
    """Return the prefix of the conda environment ``name``: a path, or a name that conda lists.

    conda writes every environment it makes into ``~/.conda/environments.txt``; only where that does not settle it
    is conda itself asked. Raises ``EnvironmentFailed``.
    """
    if os.sep in name:
        prefix = os.path.expanduser(name)
        if _is_environment(prefix):
            return prefix
        raise EnvironmentFailed("There is no conda environment at %s on the target." % prefix, "Correct the path.")
    known = [prefix for prefix in _registered() if os.path.basename(prefix) == name and _is_environment(prefix)]
    if len(known) == 1:
        return known[0]
    try:
        listed = _listed(tools)
    except NoConda:
        raise EnvironmentFailed(
            "The conda environment %s cannot be found: the target has neither conda nor mamba nor micromamba "
            "to ask, and ~/.conda/environments.txt there does not list one such." % name,
            "Install one of them on the target so that it is on PATH, or name the environment by its absolute path.",
        ) from None
    if name == "base" and listed:
        return listed[0]
    fitting = [prefix for prefix in listed[1:] if os.path.basename(prefix) == name] or known
    if not fitting:
        names = ", ".join(sorted(os.path.basename(prefix) for prefix in listed[1:])) or "none"
        raise EnvironmentFailed(
            "The target has no conda environment named %s; conda env list shows: %s." % (name, names),
            "Create it there (conda create -n %s ...), or correct the name." % name,
        )
    return fitting[0]


def _registered() -> List[str]:
    try:
        with open(os.path.expanduser("~/.conda/environments.txt"), encoding="utf-8") as stream:
            return [line.strip() for line in stream if line.strip()]
    except OSError:
        return []


def _listed(tools: Mapping[str, str]) -> List[str]:
    name, path = find_program(tools)
    answer = subprocess.run(
        [path, "env", "list", "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=machine_environment(os.environ),
        check=False,
    )
    try:
        return [str(prefix) for prefix in json.loads(answer.stdout.decode("utf-8"))["envs"]]
    except (ValueError, KeyError, TypeError):
        complaint = answer.stderr.decode("utf-8", "replace").strip()[-2000:]
        raise EnvironmentFailed(
            "%s env list does not answer (exit code %d): %s" % (name, answer.returncode, complaint),
            "Run it on the target to see what is wrong with it.",
        ) from None


def _is_environment(prefix: str) -> bool:
    return os.path.isdir(os.path.join(prefix, "conda-meta"))


def activation(prefix: str) -> Dict[str, str]:
    """Return the variables that activating ``prefix`` sets: conda's own, those set with it, those of its packages."""
    variables = {"CONDA_PREFIX": prefix, "CONDA_DEFAULT_ENV": os.path.basename(prefix)}
    variables.update(_state(prefix))
    if not glob.glob(os.path.join(glob.escape(prefix), "etc", "conda", "activate.d", "*.sh")):
        return variables
    before = dict(machine_environment(os.environ), **variables)
    before["PATH"] = os.path.join(prefix, "bin") + os.pathsep + before.get("PATH", os.defpath)
    shell = which("bash") or "/bin/sh"
    answer = subprocess.run(
        [shell, "-c", _ACTIVATE], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=before, cwd="/", check=False
    )
    if answer.returncode:
        say("warning: the activation scripts of %s fail; their variables are left out" % prefix)
        return variables
    after = dict(item.partition("=")[::2] for item in os.fsdecode(answer.stdout).split("\0") if item)
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    return dict(variables, **{name: value for name, value in changed.items() if name not in _SHELL_VARIABLES})


def _state(prefix: str) -> Dict[str, str]:
    """Return what ``conda env config vars set`` has kept."""
    content: Optional[Dict[str, Any]] = None
    try:
        with open(os.path.join(prefix, "conda-meta", "state"), encoding="utf-8") as stream:
            content = json.loads(stream.read())
    except (OSError, ValueError):
        return {}
    found = content.get("env_vars") if isinstance(content, dict) else None
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
