"""What the tools that build environments have in common: what they are given, and how their failures are told apart."""

import errno
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ...protocol.atomic import write_atomic
from ..errors import EnvironmentFailed
from ..python import Interpreter
from .index import with_placeholders
from .tool import Ended

#: Words of uv, pip and conda when an index could not be reached, as against one that answered.
_UNREACHABLE = (
    "error sending request",
    "Failed to fetch",
    "Request failed after",
    "network was disabled",
    "Connection refused",
    "ConnectionError",
    "NewConnectionError",
    "Temporary failure in name resolution",
    "dns error",
    "timed out",
    "CondaHTTPError",
    "Could not connect",
    "Download error",
)
#: Words of uv, pip, conda and micromamba when they know all versions and none fits.
_UNSOLVABLE = (
    "No solution found",
    "ResolutionImpossible",
    "No matching distribution found",
    "ResolvePackageNotFound",
    "UnsatisfiableError",
    "LibMambaUnsatisfiableError",
    "PackagesNotFoundError",
    "nothing provides",
)
_NO_SPACE = ("No space left on device", "os error 28", "Errno 28", "Disk quota exceeded")
#: uv says of an index that refused it: no solution found, and this as a hint.
_REFUSED = ("401 Unauthorized", "403 Forbidden", "valid authentication credentials", "401 Error", "403 Error")
_CERTIFICATE = ("certificate", "CERTIFICATE_VERIFY_FAILED", "UnknownIssuer")


class Order(NamedTuple):
    """What a builder is given."""

    plan: Dict[str, Any]
    interpreter: Interpreter
    program: str  #: absolute path of the tool (for pip: of an interpreter that has it)
    environ: Dict[str, str]  #: all its variables, credentials among them
    secrets: List[str]  #: values that may not be printed
    folder: str  #: a private folder to keep files in while it works


class IndexUnreachable(EnvironmentFailed):
    """No index answered; what was resolved before may still be used."""


def requirement_files(order: Order, requirements: str, constraints: str) -> List[str]:
    """Write the plan's requirements, and its constraints where it has some; return the options that name the files."""
    path = os.path.join(order.folder, "requirements.in")
    write_atomic(path, requirements)
    if not constraints:
        return [path]
    limits = os.path.join(order.folder, "constraints.txt")
    write_atomic(limits, constraints)
    return [path, "--constraint", limits]


def requirement_text(plan: Dict[str, Any], name: str) -> str:
    """Return the plan's ``requirements`` or ``constraints`` as a file's text, with placeholders for credentials."""
    lines = plan.get(name) or []
    if not all(isinstance(line, str) and "\n" not in line for line in lines):
        raise EnvironmentFailed("The plan's %s are no list of lines." % name)
    return with_placeholders(plan, "".join(line + "\n" for line in lines))


def format_options(plan: Dict[str, Any]) -> List[str]:
    """Return the options on binaries that stand in a requirements file, as uv and pip both spell them."""
    options = plan.get("options") or {}
    found = []
    for name in ("no_binary", "only_binary"):
        for package in options.get(name) or []:
            found += ["--" + name.replace("_", "-"), package]
    return found


def failure(action: str, ended: Ended) -> EnvironmentFailed:
    """Return the error for a tool that ended badly while it did ``action`` (``uv could not resolve ...``)."""
    message = "%s (exit code %d). Its last lines:\n%s" % (action, ended.code, ended.tail)
    if _has(ended, _NO_SPACE):
        return EnvironmentFailed(
            message, "There is no space left on the target: remove what is not needed, or enlarge the disk."
        )
    if _has(ended, _UNREACHABLE):
        advice = "The package index cannot be reached from the target: check its address, the proxy and the network."
        if _has(ended, _CERTIFICATE):
            advice = "The index's certificate is not trusted: name the authority's PEM file in the option ca_file."
        return IndexUnreachable(message, advice)
    if _has(ended, _REFUSED):
        return EnvironmentFailed(message, "The package index refuses the credentials: check those in its address.")
    if _has(ended, _UNSOLVABLE):
        return EnvironmentFailed(
            message,
            "Correct the requirements: these exclude each other, or ask for what no index has.",
            resolution=True,
        )
    return EnvironmentFailed(message, "The whole output is in build.log.")


def from_os_error(error: OSError, action: str) -> EnvironmentFailed:
    """Return the error for an operating system's refusal; a full disk has advice of its own."""
    advice: Optional[str] = None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "There is no space left on the target: remove what is not needed, or enlarge the disk."
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        advice = "The target's root folder must be writable: name another one on the connection."
    return EnvironmentFailed("%s: %s." % (action, error), advice)


def _has(ended: Ended, words: Tuple[str, ...]) -> bool:
    return any(word in ended.tail for word in words)
