"""Options of ``docker run``, from items of a command line to the options that a container is made with.

What they become stands in a request's ``container``; only keys that were given are there::

    user, hostname, ipc, network, runtime              text
    shm_size, memory, memory_swap                      bytes; memory_swap -1: no limit
    cpus        a number          cpuset_cpus    text, "0-3"           pids_limit    a number; -1: no limit
    gpus        "all", how many, or a list of ids
    volumes     [{"source", "target", "read_only"}]; a source from / on is a path of the engine's machine
    tmpfs       {folder: options}
    ulimits     {name: [soft, hard]}; -1: no limit
    env, labels, add_host                              {name: value}
    cap_add, cap_drop, devices, group_add, dns, security_opt      lists; a device is "host:container:permissions"
    read_only, privileged, init                        true or false
    use         true: in a container even where the environment names no image
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.config import docker_values as values
from airflow_provider.scriptrun.config.docker import DEFAULT_SHM_SIZE
from airflow_provider.scriptrun.config.template import is_template
from airflow_provider.scriptrun.config.values import found_at
from airflow_provider.scriptrun.config.wrong import Wrong, closest, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider.scriptrun.config.docker import DockerConfiguration


@dataclass(frozen=True)
class Option:
    """One option of ``docker run``.

    :param read: from its value to what it adds to the container's options. Raises :class:`Wrong`.
    :param is_flag: it stands alone; a value comes only behind a ``=``.
    """

    read: Callable[[str], dict[str, Any]]
    is_flag: bool = False


def _one(key: str, read: Callable[[str], Any]) -> Option:
    return Option(lambda text: {key: read(text)})


def _flag(key: str) -> Option:
    return Option(lambda text: {key: values.truth(text)}, is_flag=True)


def _listed(key: str, read: Callable[[str], Any]) -> Option:
    return Option(lambda text: {key: [read(text)]})


def _named(key: str, read: Callable[[str], tuple[str, Any]]) -> Option:
    return Option(lambda text: {key: dict([read(text)])})


_NAME = r"[A-Za-z0-9][\w.-]*"
_USER = values.matching(r"[\w.$-]+(:[\w.$-]+)?", "a user, or a user and a group", "1000:1000")
_CAPABILITY = values.matching(r"[A-Z_]+", "a capability", "SYS_PTRACE")
_NETWORK = values.matching(rf"{_NAME}(:{_NAME})?", "a network", "bridge")

OPTIONS: dict[str, Option] = {
    "--add-host": _named("add_host", values.added_host),
    "--cap-add": _listed("cap_add", _CAPABILITY),
    "--cap-drop": _listed("cap_drop", _CAPABILITY),
    "--cpus": _one("cpus", values.cpus),
    "--cpuset-cpus": _one("cpuset_cpus", values.matching(r"\d+(-\d+)?(,\d+(-\d+)?)*", "a list of CPUs", "0-3,8")),
    "--device": _listed("devices", values.device),
    "--dns": _listed("dns", values.address),
    "--env": _named("env", values.variable),
    "--gpus": _one("gpus", values.gpus),
    "--group-add": _listed("group_add", values.matching(r"[\w.$-]+", "a group", "video")),
    "--hostname": _one("hostname", values.matching(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62})", "a host name", "trainer")),
    "--init": _flag("init"),
    "--ipc": _one("ipc", values.matching(rf"none|private|shareable|host|container:{_NAME}", "a mode of IPC", "host")),
    "--label": _named("labels", values.label),
    "--memory": _one("memory", values.memory),
    "--memory-swap": _one("memory_swap", values.memory_or_unlimited),
    "--mount": Option(values.mount),
    "--network": _one("network", _NETWORK),
    "--pids-limit": _one("pids_limit", values.number_or_unlimited),
    "--privileged": _flag("privileged"),
    "--read-only": _flag("read_only"),
    "--runtime": _one("runtime", values.matching(_NAME, "a runtime", "nvidia")),
    "--security-opt": _listed("security_opt", values.matching(r"\S+", "a security option", "no-new-privileges")),
    "--shm-size": _one("shm_size", values.size),
    "--tmpfs": _named("tmpfs", values.tmpfs),
    "--ulimit": _named("ulimits", values.ulimit),
    "--user": _one("user", _USER),
    "--volume": _listed("volumes", values.volume),
}
#: Other spellings -> the option that is meant.
ALIASES = {
    "-e": "--env",
    "-h": "--hostname",
    "-l": "--label",
    "-m": "--memory",
    "-u": "--user",
    "-v": "--volume",
    "--net": "--network",
}
_DETACHED = "A run is always detached, and its log is collected: leave it out."
_REMOVED = "The container is removed by itself once all of the run is collected: leave it out."
_LOGGED = "The run's log is written by its supervisor, whole: leave it out."
_IMAGE = "Images are pulled when they are not there, or their tag has moved: leave it out."
_OUTSIDE = "Nothing reaches a run from outside: leave it out, or take --network host."
#: Options that are decided by the provider, or have a place of their own -> what to do.
OURS = {
    "--name": "The container is named by the run: leave it out; --label is there to find it by.",
    "--rm": _REMOVED,
    "--restart": "A run is started once; Airflow's retries start it again: leave it out.",
    "--detach": _DETACHED,
    "--interactive": _DETACHED,
    "--tty": _DETACHED,
    "--attach": _DETACHED,
    "--detach-keys": _DETACHED,
    "--sig-proxy": _DETACHED,
    "--entrypoint": "The supervisor is the first process: write command=[...] in ScriptRunConfig.",
    "--log-driver": _LOGGED,
    "--log-opt": _LOGGED,
    "--cidfile": "The run record names the container: leave it out.",
    "--pull": _IMAGE,
    "--platform": "Set environment.docker.platform.",
    "--env-file": "Set environment_variables, or secret_variables.",
    "--label-file": "Write --label for each.",
    "--stop-signal": "A cancel is SIGTERM, then SIGKILL: leave it out.",
    "--stop-timeout": "[scriptrun] cancel_grace_seconds says it.",
    "--volumes-from": "Write --volume for each.",
    "--workdir": "A script starts in its own copy of the source directory: leave it out; it may go elsewhere itself.",
    "--publish": _OUTSIDE,
    "--publish-all": _OUTSIDE,
    "--expose": _OUTSIDE,
}
_OUR_ALIASES = {
    "-d": "--detach",
    "-i": "--interactive",
    "-t": "--tty",
    "-a": "--attach",
    "-p": "--publish",
    "-P": "--publish-all",
    "-w": "--workdir",
}


def container_options(configuration: DockerConfiguration) -> dict[str, Any]:
    """Return what a rendered configuration, checked already, asks of a container; empty: nothing.

    What it leaves out is the target's to decide; of shared memory there is ``DEFAULT_SHM_SIZE`` then.
    """
    options: dict[str, Any] = {"use": True} if configuration.use_docker else {}
    if configuration.shm_size != DEFAULT_SHM_SIZE:
        options["shm_size"] = values.size(configuration.shm_size)
    return {**options, **parsed(configuration.arguments)}


def parsed(items: Sequence[Any], *, rendered: bool = True) -> dict[str, Any]:
    """Return the options that items of ``docker run``'s command line ask for.

    :param rendered: no item is a template any more. Else what templates will say is left out, and so is all that comes
        behind an option whose name is one.
    :raises Wrong: an item is wrong; it says which.
    """
    options: dict[str, Any] = {}
    number = 0
    while number < len(items):
        with found_at(number):
            name, value = _split(items[number], rendered=rendered)
        if name is None:
            break
        option = OPTIONS[name]
        if value is None and not option.is_flag:
            number += 1
            if number == len(items):
                raise Wrong(f"is {name}, and its value is missing", "Write it as the next item.", (number - 1,))
            value = items[number]
        if rendered or not is_template(value):
            with found_at(number):
                _add(options, option, name, "true" if value is None else str(value))
        number += 1
    _refuse_conflicts(options)
    return options


def _split(item: Any, *, rendered: bool) -> tuple[str | None, str | None]:
    """Return the option that an item names (``None``: not known yet), and the value in the same item, if any."""
    if not isinstance(item, str):
        return None, None
    name, is_valued, rest = item.partition("=")
    value = rest if is_valued else None
    if re.fullmatch(r"-[A-Za-z].+", item, re.DOTALL):  # one letter, and its value follows at once
        name, value = item[:2], item[2:].removeprefix("=")
    if not rendered and is_template(name):
        return None, None
    ours = _OUR_ALIASES.get(name, name)
    if ours in OURS:
        raise Wrong(f"is {name}, which the provider decides", OURS[ours])
    full = ALIASES.get(name, name)
    if full not in OPTIONS:
        raise _stray(item, name)
    return full, value


def _stray(item: str, name: str) -> Wrong:
    first, _, rest = item.partition(" ")
    if first in OPTIONS or first in ALIASES:
        return Wrong(f"is {shown(item)}, an option and its value in one item", f"Write {first!r}, {rest.strip()!r}.")
    if not item.startswith("-"):
        return Wrong(
            f"is {shown(item)}, which is no option",
            "Each option begins with --; the image is the environment's, and the command is the script's.",
        )
    return Wrong(f"is {shown(name)}, which is no option for a run", closest(name, OPTIONS, "There are"))


def _add(options: dict[str, Any], option: Option, name: str, text: str) -> None:
    """Add what an option says: lists and mappings grow, anything else is said once."""
    for key, value in option.read(text).items():
        said = options.setdefault(key, value)
        if said is value:
            continue
        if isinstance(value, dict):
            said.update(value)
        elif isinstance(value, list) and key != "gpus":
            said.extend(value)
        elif said != value:
            raise Wrong(f"is {name} once more, with another value", "Keep one of the two.")


def _refuse_conflicts(options: dict[str, Any]) -> None:
    swap, memory = options.get("memory_swap"), options.get("memory")
    if swap is not None and swap != values.UNLIMITED and memory is not None and swap < memory:
        raise Wrong(
            "say --memory-swap is less than --memory", "It is memory and swap together: write at least as much."
        )
    targets = [*(volume["target"] for volume in options.get("volumes", ())), *options.get("tmpfs", ())]
    for target in targets:
        if targets.count(target) > 1:
            raise Wrong(f"mount two things at {target}", "Give each a folder of its own.")
