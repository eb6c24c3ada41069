"""What an engine says of itself, and what its registry says: values, and the lines that a person reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.targets import parse
from airflow_provider.scriptrun.targets.docker.registry_answers import Answer
from airflow_provider.scriptrun.targets.findings import gigabytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider.scriptrun.targets.docker.registry_answers import Found
    from airflow_provider.scriptrun.targets.findings import DiskFacts

#: NVIDIA's runtime, and what its devices are called (https://github.com/cncf-tags/container-device-interface).
NVIDIA_RUNTIME, GPU_DEVICES = "nvidia", "/gpu="
_MAX_ITEMS = 1000


@dataclass(frozen=True)
class RegistryFacts:
    """What the connection's registry says.

    :param address: as it stands in front of images.
    :param user: who logs in; ``None``: nobody, it is asked as anybody.
    :param admits: whether it lets the engine in; with :attr:`Answer.UNKNOWN`, why nobody can tell.
    """

    address: str
    user: str | None
    admits: Found

    def __str__(self) -> str:
        answer, user = self.admits.answer, self.user
        if answer is Answer.YES:
            return f"registry {self.address} {f'lets the user {user} in' if user else 'lets us in without a login'}"
        if answer is Answer.NO:
            said = f"does not let the user {user} in" if user else "lets nobody in without a login"
            return f"registry {self.address} {said}"
        return f"registry {self.address} did not say whether it lets {f'the user {user}' if user else 'us'} in"


@dataclass(frozen=True)
class EngineFacts:
    """What a check finds of an engine. Bytes are of the engine's machine.

    :param version: of the engine; ``api_version``: the newest API that it speaks.
    :param system: ``linux``; ``os``: its name for people.
    :param data_folder: where the engine keeps images, and volumes that no driver of their own keeps.
    :param runtimes: names of what can start containers.
    :param devices: what is known of devices by the Container Device Interface: ``nvidia.com/gpu=0``.
    :param live_restore: whether containers go on while the engine is stopped.
    :param warnings: the engine's own.
    :param registry: ``None``: the connection has none.
    :param base_image: its name; ``base_image_was_there``: else it had to be fetched for this check.
    """

    name: str
    version: str
    api_version: str
    os: str
    system: str
    machine: str
    storage_driver: str
    data_folder: str | None
    cpus: int | None
    memory_bytes: int | None
    runtimes: tuple[str, ...]
    devices: tuple[str, ...]
    is_rootless: bool
    live_restore: bool
    limits_memory: bool
    limits_swap: bool
    warnings: tuple[str, ...]
    base_image: str
    base_image_was_there: bool
    registry: RegistryFacts | None = None

    @property
    def gpus(self) -> str:
        """What containers can be given, in words: the engine does not count GPUs before one is asked for."""
        devices = [device for device in self.devices if GPU_DEVICES in device]
        if devices:
            return f"GPUs {', '.join(devices)}"
        return "GPUs by the runtime nvidia" if NVIDIA_RUNTIME in self.runtimes else "no GPU runtime"

    def lines(self, disk: DiskFacts | None = None) -> list[str]:
        """Return it in a few lines; of a registry that does not let us in there is a warning instead.

        :param disk: where the volume is.
        """
        memory = None if self.memory_bytes is None else f"{gigabytes(self.memory_bytes)} GB of memory"
        cpus = None if self.cpus is None else f"{self.cpus} CPU{'' if self.cpus == 1 else 's'}"
        space = None if disk is None else f"{gigabytes(disk.free_bytes)} of {gigabytes(disk.bytes)} GB free"
        parts = (self.os, f"{self.system}/{self.machine}", cpus, memory, self.gpus, space)
        where = f" in {self.data_folder}" if self.data_folder else ""
        registry = self.registry
        restart = "outlive a restart of the engine" if self.live_restore else "end when the engine is restarted"
        return [
            f"{self.name}: Docker {self.version} (API {self.api_version}) on {', '.join(filter(None, parts))}",
            f"{self.storage_driver}{where}, {'rootless' if self.is_rootless else 'run by root'}, containers {restart} "
            f"(live-restore {'on' if self.live_restore else 'off'})",
            *([str(registry)] if registry is not None and registry.admits.answer is Answer.YES else []),
            f"base image {self.base_image} {'is there' if self.base_image_was_there else 'was fetched'}",
        ]


def read_engine(
    info: Any, version: Any, *, base_image: str, base_image_was_there: bool, registry: RegistryFacts | None
) -> EngineFacts:
    """Return what the answers to ``GET /info`` and ``GET /version`` say. Raises :class:`ProtocolError`."""
    fields, versions = parse.Fields(info, "what the engine says of itself"), parse.Fields(version, "its version")
    return EngineFacts(
        name=fields.optional_text("Name") or "engine",
        version=fields.optional_text("ServerVersion") or versions.text("Version"),
        api_version=versions.text("ApiVersion"),
        os=fields.optional_text("OperatingSystem") or "an unknown system",
        system=fields.optional_text("OSType") or "linux",
        machine=fields.text("Architecture"),
        storage_driver=fields.text("Driver"),
        data_folder=fields.optional_text("DockerRootDir", parse.MAX_PATH_CHARACTERS),
        cpus=fields.optional_integer("NCPU"),
        memory_bytes=fields.optional_integer("MemTotal"),
        runtimes=tuple(sorted(fields.inner("Runtimes").document))[:_MAX_ITEMS] if fields.has("Runtimes") else (),
        devices=tuple(_devices(fields)),
        is_rootless="name=rootless" in fields.texts("SecurityOptions", _MAX_ITEMS),
        live_restore=_flag(fields, "LiveRestoreEnabled"),
        limits_memory=_flag(fields, "MemoryLimit"),
        limits_swap=_flag(fields, "SwapLimit"),
        warnings=fields.texts("Warnings", _MAX_ITEMS),
        base_image=base_image,
        base_image_was_there=base_image_was_there,
        registry=registry,
    )


def _flag(fields: parse.Fields, name: str) -> bool:
    return fields.has(name) and fields.flag(name)


def _devices(fields: parse.Fields) -> Iterator[str]:
    """Yield what engines since API 1.50 have discovered."""
    if fields.has("DiscoveredDevices"):
        for item in fields.items("DiscoveredDevices", _MAX_ITEMS):
            yield parse.Fields(item, "a device of the engine").text("ID")
