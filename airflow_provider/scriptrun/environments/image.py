"""The image of an environment, as it stands under ``image`` in a plan's document.

::

    reference        the image's name; null where one is built
    dockerfile       a Dockerfile's text, or null
    context          the build context's folder on the worker, or null; with it:
        dockerfile_path  the Dockerfile in it
        context_digest   sha256 over what of it is sent
    registry         {"address", "username"}, and "secret": the name of the password in the plan's secrets; or null
    platform         "linux/arm64", or null: what the engine's machine is
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.config.docker import Platform
from airflow_provider.scriptrun.environments.build_context import BuildContext
from airflow_provider.scriptrun.errors import ConfigurationError, NotSupportedError

if TYPE_CHECKING:
    from airflow_provider.scriptrun.config.docker import ContainerRegistry, DockerSection
    from airflow_provider.scriptrun.environments.credentials import Vault

#: Far more than anybody writes; a path to something else is noticed.
MAX_DOCKERFILE_BYTES = 1024 * 1024
_FROM = re.compile(r"^\s*FROM\s+\S", re.IGNORECASE | re.MULTILINE)
#: What Docker Hub is called as a registry, and never in front of an image's name.
_DOCKER_HUB = re.compile(r"(index\.)?docker\.io(/v[12])?|registry-1\.docker\.io")


def read_image(section: DockerSection, base_directory: Path, vault: Vault) -> dict[str, Any]:
    """Return the image that a section names, its files read relative to ``base_directory``.

    Raises ``ConfigurationError`` naming the file, ``NotSupportedError`` for a platform that is not Linux.
    """
    image: dict[str, Any] = {
        "reference": _reference(section),
        "dockerfile": None,
        "context": None,
        "registry": _registry(section.base_image_registry, vault),
        "platform": _platform(section.platform),
    }
    if section.base_dockerfile is not None:
        image["dockerfile"] = _dockerfile(section.base_dockerfile, base_directory)
    if section.build_context is not None:
        written = section.build_context
        context = BuildContext.of(base_directory / Path(written.directory).expanduser(), written.dockerfile_path)
        _check(context.folder / context.dockerfile)
        image["context"] = str(context.folder)
        image["dockerfile_path"] = context.dockerfile
        image["context_digest"] = context.digest()
    return image


def _reference(section: DockerSection) -> str | None:
    """Return the image's whole name: Azure ML puts the registry's address in front of it."""
    image, address = section.base_image, _address(section.base_image_registry)
    if image is None or address is None or image.startswith(f"{address}/"):
        return image
    return f"{address}/{image}"


def _address(registry: ContainerRegistry) -> str | None:
    if registry.address is None:
        return None
    address = re.sub(r"^https?://", "", registry.address.strip()).rstrip("/")
    return None if _DOCKER_HUB.fullmatch(address) else address


def _registry(registry: ContainerRegistry, vault: Vault) -> dict[str, Any] | None:
    if registry.address is None and registry.username is None:
        return None
    address = _address(registry) or "docker.io"
    found: dict[str, Any] = {"address": address, "username": registry.username}
    if registry.password is not None:
        name = f"SCRIPTRUN_REGISTRY_{hashlib.sha256(address.encode()).hexdigest()[:12].upper()}"
        vault.refer(name, registry.password)
        found["secret"] = name
    return found


def _platform(platform: Platform) -> str | None:
    if platform == Platform():
        return None
    if platform.os.lower() != "linux":
        raise NotSupportedError(
            f"environment.docker.platform.os is {platform.os!r}, and runs are on Linux", advice="Leave it out."
        )
    return f"linux/{platform.architecture.lower()}"


def _dockerfile(written: str, base_directory: Path) -> str:
    if "\n" not in written:
        return _check(base_directory / Path(written).expanduser())
    return _with_from(written, "environment.docker.base_dockerfile")


def _check(path: Path) -> str:
    """Return a Dockerfile's text, if it is one."""
    try:
        if path.stat().st_size > MAX_DOCKERFILE_BYTES:
            raise ConfigurationError(f"{path} is larger than any Dockerfile", advice="Name the Dockerfile.")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"environment.docker: the Dockerfile {path} cannot be read",
            why=getattr(error, "strerror", None) or str(error),
            advice="Correct the path; it is relative to the DAG file in a task.",
        ) from error
    return _with_from(text, str(path))


def _with_from(text: str, origin: str) -> str:
    if not _FROM.search(text):
        raise ConfigurationError(
            f"{origin} names no image to begin with", advice="A Dockerfile has a line such as FROM python:3.11-slim."
        )
    return text
