"""The values of options of ``docker run``, as Docker itself reads them: from text to what stands in a request."""

from __future__ import annotations

import csv
import ipaddress
import math
import re
from posixpath import normpath
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.config.values import variable_name
from airflow_provider.scriptrun.config.wrong import Wrong, closest, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Folders of a container that are ours: what is mounted over them, or over what holds them, hides them from the run.
OUR_FOLDERS = ("/scriptrun", "/opt/scriptrun")
#: Less than this the engine refuses, in bytes (``daemon_unix.go``: linuxMinMemory).
MIN_MEMORY_BYTES = 6 * 1024 * 1024
#: What a size or number is when there is no limit.
UNLIMITED = -1
_SIZE = re.compile(r"(?P<number>\d{1,18}(?:\.\d+)?)\s*(?P<unit>[kmgtp]?)(?:i?b)?", re.IGNORECASE)
_UNITS = {unit: 1024**power for power, unit in enumerate(("", "k", "m", "g", "t", "p"))}
_TRUTHS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
#: The limits that Linux has (go-units: ulimit.go).
ULIMITS = (
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
)


def size(text: str) -> int:
    """Return bytes: ``64m``, ``1.5g``, ``2GiB``, a number alone; units are powers of 1024."""
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found["number"]) * _UNITS[found["unit"].lower()]) if found else -1
    if not 0 <= size < 1 << 63:  # an engine's numbers have 64 bits
        raise Wrong(f"is {shown(text)}, which is no size", "Write for instance '2g' or '512m'.")
    return size


def memory(text: str) -> int:
    """Return bytes of memory."""
    found = size(text)
    if found < MIN_MEMORY_BYTES:
        raise Wrong(
            f"is {shown(text)}, that is {found} bytes, and no container starts with less than 6 MiB",
            "Write it with its unit, for instance '4g'.",
        )
    return found


def memory_or_unlimited(text: str) -> int:
    """Return bytes; ``-1`` is no limit."""
    return UNLIMITED if text.strip() == "-1" else memory(text)


def cpus(text: str) -> float:
    """Return how many CPUs, of which there may be a part."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not (math.isfinite(found) and found > 0):
        raise Wrong(f"is {shown(text)}, which is no number of CPUs", "Write for instance '2' or '0.5'.")
    return found


def number_or_unlimited(text: str) -> int:
    """Return a whole number above 0; ``-1`` is no limit."""
    if not re.fullmatch(r"-1|0*[1-9]\d{0,17}", text.strip()):
        raise Wrong(f"is {shown(text)}, which is no number above 0", "Write for instance '512', or '-1' for no limit.")
    return int(text)


def truth(text: str) -> bool:
    """Return what stands behind the ``=`` of an option without a value: true or false."""
    if text.lower() not in _TRUTHS:
        raise Wrong(f"is {shown(text)}, which is neither true nor false", "Write the option alone.")
    return _TRUTHS[text.lower()]


def matching(pattern: str, meaning: str, example: str) -> Callable[[str], str]:
    """Return a reader of text that a pattern matches."""
    compiled = re.compile(pattern)

    def read(text: str) -> str:
        if not compiled.fullmatch(text):
            raise Wrong(f"is {shown(text)}, which is not {meaning}", f"Write for instance {example!r}.")
        return text

    return read


def gpus(text: str) -> str | int | list[str]:
    """Return ``all``, how many, or the ids of which: ``all``, ``2``, ``device=0,1``, ``device=GPU-3a23c669``."""
    asked: str | int | list[str] = "all"
    for part in _separated(_without_quotes(text)):
        name, is_named, value = part.partition("=")
        if not is_named and isinstance(asked, list):
            asked.append(part)  # device=0,1 without the quotes that docker's own command line wants
        elif not is_named or name == "count":
            asked = _gpu_count(value if is_named else part, text)
        elif name == "device":
            asked = value.split(",")
        elif name not in ("capabilities", "driver") or value not in ("gpu", "nvidia"):
            raise Wrong(f"is {shown(text)}, and {shown(part)} in it is not known", _GPU_ADVICE)
    if not text.strip() or (isinstance(asked, list) and not all(asked)):
        raise Wrong(f"is {shown(text)}, which names no GPUs", _GPU_ADVICE)
    return asked


_GPU_ADVICE = "Write 'all', how many, or 'device=0,1' for those with these numbers or ids."


def _separated(text: str) -> list[str]:
    """Return what commas separate, as Docker reads it: an item in double quotes may hold some."""
    if "\n" in text or "\r" in text:
        raise Wrong(f"is {shown(text)}, which is more than one line", "Write it in one.")
    return next(csv.reader([text]), [])


def _without_quotes(text: str) -> str:
    """Return ``"device=0,1"`` without its quotes, which shells need and lists of items do not."""
    stripped = text.strip().strip("'")
    return stripped[1:-1] if re.fullmatch(r'"[^"]*"', stripped) else stripped


def _gpu_count(value: str, text: str) -> str | int:
    if value in ("all", "-1"):
        return "all"
    if not re.fullmatch(r"0*[1-9]\d{0,17}", value):
        raise Wrong(f"is {shown(text)}, which is no number of GPUs", _GPU_ADVICE)
    return int(value)


def variable(text: str) -> tuple[str, str]:
    """Return an environment variable's name and value."""
    name, is_valued, value = text.partition("=")
    if not is_valued:
        raise Wrong(
            f"is {shown(text)}, a variable without its value: a run sees nothing of the worker's own",
            f"Write {f'{name}=value'!r}; environment_variables and secret_variables do the same on every target.",
        )
    variable_name(name)
    return name, value


def label(text: str) -> tuple[str, str]:
    """Return a label's name and value."""
    name, _, value = text.partition("=")
    if not name.strip():
        raise Wrong(f"is {shown(text)}, a label without a name", "Write for instance 'team=churn'.")
    if name.startswith("scriptrun"):
        raise Wrong(f"is {shown(text)}, and labels that begin with scriptrun are the provider's", "Take another name.")
    return name, value


def added_host(text: str) -> tuple[str, str]:
    """Return a host's name and its address: ``name:address`` or ``name=address``."""
    name, separator, found = re.match(r"([^:=]*)([:=]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    if not re.fullmatch(r"[\w.-]+", name) or not separator:
        raise Wrong(f"is {shown(text)}, which is no name and address", "Write for instance 'db:10.0.0.5'.")
    if found == "host-gateway":
        return name, found
    return name, address(found.removeprefix("[").removesuffix("]"))


def address(text: str) -> str:
    """Return an IP address."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise Wrong(f"is {shown(text)}, which is no IP address", "Write for instance '10.0.0.5'.") from None


def ulimit(text: str) -> tuple[str, list[int]]:
    """Return a limit's name, and its soft and hard value: ``nofile=1024:4096``, ``core=0``."""
    name, _, values = text.partition("=")
    if name not in ULIMITS:
        raise Wrong(f"is {shown(text)}, and {shown(name)} is no limit", closest(name, ULIMITS, "There are"))
    if not re.fullmatch(r"(-1|\d{1,18})(:(-1|\d{1,18}))?", values):
        raise Wrong(f"is {shown(text)}, which says no numbers", f"Write for instance '{name}=1024:4096'.")
    soft, _, hard = values.partition(":")
    limits = [int(soft), int(hard or soft)]
    if limits[1] != UNLIMITED and (limits[0] > limits[1] or limits[0] == UNLIMITED):
        raise Wrong(f"is {shown(text)}, whose soft limit is above the hard one", f"Write '{name}={hard}:{soft}'.")
    return name, limits


def device(text: str) -> str:
    """Return a device as ``<path on the engine's machine>:<path in the container>:<permissions>``."""
    on_host, *rest = text.split(":")
    permissions = rest.pop() if rest and re.fullmatch(r"[rwm]{1,3}", rest[-1]) else "rwm"
    inside = rest.pop() if rest else on_host
    if rest or not on_host.startswith("/") or not inside.startswith("/"):
        raise Wrong(f"is {shown(text)}, which is no device", "Write for instance '/dev/fuse:/dev/fuse:rw'.")
    return f"{on_host}:{inside}:{permissions}"


def absolute(text: str) -> str:
    """Return the path of a folder in the container."""
    if not text.startswith("/") or "\0" in text:
        raise Wrong(f"is {shown(text)}, which is no absolute path", "Write it from /.")
    return text


def place(text: str) -> str:
    """Return where in the container something is mounted: an absolute path that hides nothing of ours."""
    found = normpath("/" + absolute(text).lstrip("/"))
    for ours in OUR_FOLDERS:
        if found == ours or found.startswith(f"{ours}/") or ours.startswith(found.rstrip("/") + "/"):
            raise Wrong(f"is mounted at {found}, which hides the provider's own folder {ours}", "Take another folder.")
    return found


def volume(text: str) -> dict[str, Any]:
    """Return what ``-v`` mounts: ``<source>:<folder in the container>[:ro]``."""
    source, *rest = text.split(":")
    if not rest:
        raise Wrong(
            f"is {shown(text)}, a volume without a name, which nobody would find again",
            f"Write for instance {f'my-data:{text}'!r}; for a folder in memory take --tmpfs.",
        )
    target, modes = rest[0], ":".join(rest[1:])
    if modes not in ("", "ro", "rw"):
        raise Wrong(f"is {shown(text)}, and {shown(modes)} is no mode for it", "Write ro, rw or nothing.")
    return mounted(source, target, read_only=modes == "ro", text=text)


def mounted(source: str, target: str, *, read_only: bool, text: str) -> dict[str, Any]:
    """Return what is mounted: a named volume, or a path of the engine's machine."""
    if source.startswith((".", "~")):
        raise Wrong(
            f"is {shown(text)}, and nobody knows where {shown(source)} is on the engine's machine",
            "Write an absolute path there, or the name of a volume.",
        )
    if not source.startswith("/") and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]+", source):
        raise Wrong(
            f"is {shown(text)}, and {shown(source)} is neither the name of a volume nor an absolute path",
            "Write for instance 'my-data:/data', or '/srv/data:/data' for a path of the engine's machine.",
        )
    if ":" in source + target:
        raise Wrong(f"is {shown(text)}, and engines take a colon for the end of a path", "Take a path without colons.")
    return {"source": source, "target": place(target), "read_only": read_only}


def tmpfs(text: str) -> tuple[str, str]:
    """Return a folder in memory and its options: ``/run:size=64m,mode=1777``."""
    folder, _, options = text.partition(":")
    return place(folder), options


_MOUNT_NAMES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_MOUNT_FIELDS = {
    "volume": ("type", "source", "target", "readonly"),
    "bind": ("type", "source", "target", "readonly"),
    "tmpfs": ("type", "target", "tmpfs-size", "tmpfs-mode"),
}


def mount(text: str) -> dict[str, Any]:
    """Return the option and value that ``--mount`` stands for: of ``volumes``, or of ``tmpfs``."""
    fields = _mount_fields(_separated(text), text)
    kind = fields.setdefault("type", "volume")
    if kind not in _MOUNT_FIELDS:
        raise Wrong(
            f"is {shown(text)}, and its type cannot be {shown(kind)}", closest(kind, _MOUNT_FIELDS, "A mount's type is")
        )
    for name in fields:
        if name not in _MOUNT_FIELDS[kind]:
            known = closest(name, _MOUNT_FIELDS[kind], f"A mount of type {kind} has")
            raise Wrong(f"is {shown(text)}, and {shown(name)} in it is not known", known)
    for name in ("target",) if kind == "tmpfs" else ("source", "target"):
        if not fields.get(name):
            raise Wrong(f"is {shown(text)}, which names no {name}", "Write for instance 'source=my-data,target=/data'.")
    if kind == "tmpfs":
        options = (("size", fields.get("tmpfs-size")), ("mode", fields.get("tmpfs-mode")))
        said = ",".join(f"{name}={value}" for name, value in options if value)
        return {"tmpfs": {place(fields["target"]): said}}
    if (kind == "bind") != fields["source"].startswith("/"):
        advice = "A bind mount's source is an absolute path; a volume's is its name. Write type=bind for a path."
        raise Wrong(f"is {shown(text)}, and {shown(fields['source'])} is no source of a {kind} mount", advice)
    read_only = truth(fields.get("readonly", "false"))
    return {"volumes": [mounted(fields["source"], fields["target"], read_only=read_only, text=text)]}


def _mount_fields(parts: Iterable[str], text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for part in parts:
        name, is_valued, value = part.partition("=")
        name = _MOUNT_NAMES.get(name.strip().lower(), name.strip().lower())
        if not is_valued and name != "readonly":
            raise Wrong(f"is {shown(text)}, and {shown(part)} in it has no value", "Write for instance 'target=/data'.")
        fields[name] = value if is_valued else "true"
    return fields
