"""From options of ``docker run`` (``config/docker_arguments.py``) to what Docker's client makes a container with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.config.docker import DEFAULT_SHM_SIZE
from airflow_provider.scriptrun.errors import NotSupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Option -> field of the host configuration, with the same value.
_AS_IT_IS = {
    "shm_size": "shm_size",
    "memory": "mem_limit",
    "memory_swap": "memswap_limit",
    "cpuset_cpus": "cpuset_cpus",
    "pids_limit": "pids_limit",
    "network": "network_mode",
    "tmpfs": "tmpfs",
    "cap_add": "cap_add",
    "cap_drop": "cap_drop",
    "devices": "devices",
    "dns": "dns",
    "add_host": "extra_hosts",
    "security_opt": "security_opt",
    "read_only": "read_only",
    "privileged": "privileged",
    "runtime": "runtime",
    "ipc": "ipc_mode",
}
_NANO = 1_000_000_000


@dataclass(frozen=True)
class Options:
    """What a container is made with.

    :param config: of the container, by the names of Docker's client.
    :param host_config: likewise.
    :param user: who runs the script; ``None``: whom the image names.
    :param groups: further groups of that user.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    host_config: Mapping[str, Any] = field(default_factory=dict)
    user: str | None = None
    groups: tuple[str, ...] = ()


def read(options: Mapping[str, Any]) -> Options:
    """Return what ``options`` ask for. Raises :class:`NotSupportedError` for what a run cannot be given."""
    if options.get("workdir"):
        raise NotSupportedError(
            "--workdir has no meaning here: a script's working directory is its own copy of the source directory",
            advice="Remove it from the arguments of docker; the script may change its directory itself.",
        )
    host_config = {name: options[option] for option, name in _AS_IT_IS.items() if option in options}
    if "ipc" not in options:  # another one's shared memory is as large as it is
        host_config.setdefault("shm_size", DEFAULT_SHM_SIZE)
    if "cpus" in options:
        host_config["nano_cpus"] = int(float(options["cpus"]) * _NANO)
    if options.get("gpus") is not None:
        host_config["device_requests"] = [_gpus(options["gpus"])]
    if "ulimits" in options:
        host_config["ulimits"] = [
            {"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in options["ulimits"].items()
        ]
    if "volumes" in options:
        host_config["binds"] = [
            f"{one['source']}:{one['target']}:{'ro' if one.get('read_only') else 'rw'}" for one in options["volumes"]
        ]
    config: dict[str, Any] = {}
    if "env" in options:
        config["environment"] = dict(options["env"])
    for name in ("hostname", "labels"):
        if name in options:
            config[name] = options[name]
    return Options(config, host_config, options.get("user"), tuple(map(str, options.get("group_add", ()))))


def _gpus(asked: Any) -> dict[str, Any]:
    """Return a device request, as ``docker run --gpus`` makes one."""
    request: dict[str, Any] = {"Driver": "", "Capabilities": [["gpu"]], "Count": 0, "DeviceIDs": [], "Options": {}}
    if asked == "all":
        return {**request, "Count": -1}
    if isinstance(asked, int):
        return {**request, "Count": asked}
    return {**request, "DeviceIDs": list(asked)}
