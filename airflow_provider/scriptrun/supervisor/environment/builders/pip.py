"""Environments by ``python -m venv`` and pip, where there is no uv: slower, built in place, the mark written last."""

import json
import os
import re
from typing import Any, Dict, List

from ...protocol.atomic import write_atomic
from ..errors import EnvironmentFailed
from ..version import release
from . import Order, failure, format_options, requirement_files, requirement_text
from .index import with_placeholders, without_placeholders
from .tool import Ended, run, say

#: ``--report`` came with pip 22.2, ``--python`` with 22.3.
_OLDEST_PIP = (22, 3)


def resolve(order: Order) -> str:
    """Return exact versions of everything that the plan requires, with the hash of each file that pip chose."""
    plan = order.plan
    requirements = requirement_text(plan, "requirements")
    if not requirements:
        return ""
    if plan["options"].get("require_hashes"):
        return without_placeholders(plan, requirements)
    say("resolving the requirements for Python %s with pip" % order.interpreter.version)
    report = os.path.join(order.folder, "report.json")
    argv = [*_pip(order), "install", "--dry-run", "--ignore-installed", "--report", report, "--quiet", "--requirement"]
    argv += requirement_files(order, requirements, requirement_text(plan, "constraints")) + format_options(plan)
    if plan["options"].get("pre"):
        argv.append("--pre")
    ended = run(argv, environ=order.environ, secrets=order.secrets)
    if ended.code:
        raise failure("pip cannot resolve the requirements", ended)
    with open(report, encoding="utf-8") as stream:
        return lock_of(plan, json.loads(stream.read())["install"])


def lock_of(plan: Dict[str, Any], chosen: List[Dict[str, Any]]) -> str:
    """Return pip's report (its documentation: "Installation Report") as a requirements file, sorted."""
    lines = []
    for item in chosen:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        download = item["download_info"]
        if item["is_direct"]:
            lines.append((name, "%s @ %s" % (name, _direct_url(plan, download)), _hash(download)))
        else:
            lines.append((name, "%s==%s" % (name, item["metadata"]["version"]), _hash(download)))
    everywhere = all(digest for _, _, digest in lines)  # pip: hashes for all of them, or for none
    return "".join("%s%s\n" % (text, " --hash=" + digest if everywhere else "") for _, text, digest in sorted(lines))


def _direct_url(plan: Dict[str, Any], download: Dict[str, Any]) -> str:
    url: str = re.sub(r"://[^/@]*@", "://", download["url"])
    for clean, names in (plan["delivery"].get("credentials") or {}).items():
        if names.get("query") and url.startswith(clean + "?"):
            url = clean
    vcs = download.get("vcs_info")
    return "%s+%s@%s" % (vcs["vcs"], url, vcs["commit_id"]) if vcs else url


def _hash(download: Dict[str, Any]) -> str:
    digest = ((download.get("archive_info") or {}).get("hashes") or {}).get("sha256")
    return "sha256:" + digest if digest else ""


def install(order: Order, lock: str, folder: str) -> None:
    """Make a virtual environment at ``folder``, its final place, that holds exactly ``lock``."""
    _make_venv(order, folder, ["--without-pip"])
    if not lock.strip():
        return
    path = os.path.join(order.folder, "install.txt")
    write_atomic(path, with_placeholders(order.plan, lock))
    argv = [
        *_pip(order),
        "--python",
        os.path.join(folder, "bin", "python"),
        "install",
        "--no-deps",
        "--requirement",
        path,
    ]
    ended = run(argv + format_options(order.plan), environ=order.environ, secrets=order.secrets)
    if ended.code:
        raise failure("pip cannot install the requirements", ended)


def _pip(order: Order) -> List[str]:
    """Return how pip is run: the interpreter's own if it is new enough, else one in a virtual environment for it."""
    if _is_new_enough(order, order.program):
        return [order.program, "-m", "pip"]
    tools = os.path.join(order.folder, "tools")
    python = os.path.join(tools, "bin", "python")
    if not os.path.exists(python):
        _make_venv(order, tools, [])
        if not _is_new_enough(order, python):
            upgrade = [python, "-m", "pip", "install", "--quiet", "--upgrade", "pip"]
            ended = run(upgrade, environ=order.environ, secrets=order.secrets)
            if ended.code:
                raise failure("pip cannot bring itself up to date", ended)
    return [python, "-m", "pip"]


def _is_new_enough(order: Order, python: str) -> bool:
    version = os.path.join(order.folder, "pip-version.txt")
    ended: Ended = run(
        [python, "-m", "pip", "--version"], environ=order.environ, secrets=order.secrets, output=version, quiet=True
    )
    if ended.code:
        return False
    with open(version, encoding="utf-8", errors="replace") as stream:
        match = re.match(r"pip (\d[\d.]*)", stream.read())
    return match is not None and release(match.group(1).rstrip(".")) >= _OLDEST_PIP


def _make_venv(order: Order, folder: str, options: List[str]) -> None:
    argv = [order.program, "-m", "venv", *options, folder]
    ended = run(argv, environ=order.environ, secrets=order.secrets)
    if ended.code:
        raise EnvironmentFailed(
            "%s cannot make a virtual environment (exit code %d). Its last lines:\n%s"
            % (order.program, ended.code, ended.tail),
            "Install uv on the target, which needs no module of Python's; or those that it lacks (Debian, Ubuntu: apt "
            "install python%s-venv)." % ".".join(order.interpreter.version.split(".")[:2]),
        )
