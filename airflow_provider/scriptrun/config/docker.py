"""Images to run in, and how to run them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from airflow_provider.scriptrun.config.element import OPTIONAL_PART, PART, Element
from airflow_provider.scriptrun.config.names import EnvironmentKind
from airflow_provider.scriptrun.config.secret import secret
from airflow_provider.scriptrun.config.template import holds_template, is_template
from airflow_provider.scriptrun.config.values import Flag, argument, holding, listing, optional, path, text
from airflow_provider.scriptrun.config.wrong import Wrong

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

_IMAGE = text(
    example="python:3.11-slim", pattern=r"[A-Za-z0-9][\w.:/@-]*", meaning="the name of an image", secret_free=True
)
_SIZE = r"\d+[bkmgBKMG]?"
#: Azure ML's.
DEFAULT_SHM_SIZE = "2g"


_ITEMS = listing(argument, example="['--gpus', 'all']", text_advice="Write each option and each value as an item.")


def _arguments(value: Any, rendered: bool) -> list[Any]:
    items: list[Any] = [] if value is None else _ITEMS(value, rendered)
    if items:
        from airflow_provider.scriptrun.config.docker_arguments import parsed

        parsed(items, rendered=rendered)
    return items


def _dockerfile(value: Any, rendered: bool) -> str:
    if isinstance(value, str) and "\n" in value:
        return str(text(example="FROM python:3.11-slim")(value, rendered))
    return str(path(example="training/Dockerfile")(value, rendered))


class ContainerRegistry(Element):
    """Where images come from, and who may have them.

    :param address: for instance ``registry.example.com``.
    :param username: whom the registry knows.
    :param password: a reference to it, never itself: ``conn:<connection id>/password`` or ``var:<variable>``.
    """

    ABSENT = {"registry_identity": "It is Azure's; use username and password."}

    address: Annotated[str | None, holding(optional(text(example="registry.example.com", secret_free=True)))] = None
    username: Annotated[str | None, holding(optional(text(example="robot")))] = None
    password: Annotated[str | None, holding(optional(secret))] = None

    def _conflicts(self) -> Iterator[Wrong]:
        if (self.username is None) != (self.password is None) and not holds_template(self):
            given, lacking = ("username", "password") if self.password is None else ("password", "username")
            yield Wrong(f"is there without a {lacking}", "A login has both, or leave both out.", (given,))


class DockerBuildContext(Element):
    """A folder with everything that a Dockerfile needs.

    :param directory: the folder; read at submit.
    :param dockerfile_path: the Dockerfile in it.
    """

    directory: Annotated[str, holding(path(example="training/image"))]
    dockerfile_path: Annotated[str, holding(path(example="Dockerfile"))] = "Dockerfile"

    @classmethod
    def from_local_directory(
        cls, directory: str | os.PathLike[str], dockerfile_path: str = "Dockerfile"
    ) -> DockerBuildContext:
        """Return the build context in a folder."""
        return cls(directory=directory, dockerfile_path=dockerfile_path)


class Platform(Element):
    """What an image is built for."""

    os: Annotated[str, holding(text(example="Linux"))] = "Linux"
    architecture: Annotated[str, holding(text(example="amd64"))] = "amd64"


class DockerSection(Element):
    """The image of an environment: exactly one of an image, a Dockerfile and a build context, or none.

    :param base_image: an image by name.
    :param base_dockerfile: a Dockerfile's path, or its text (more than one line).
    :param build_context: a folder with a Dockerfile.
    :param base_image_registry: where the image comes from, if that needs a login.
    :param platform: what it is built for; default: what the target is.
    """

    PLACE = "docker"
    ABSENT = {
        "enabled": "An environment with an image runs in it; see also run_config.docker.use_docker.",
        "gpu_support": "Leave it out: whether there are GPUs is the target's.",
        "shm_size": "It is a field of DockerConfiguration: run_config.docker.shm_size.",
        "shared_volumes": "It is a field of DockerConfiguration: run_config.docker.shared_volumes.",
        "arguments": "It is a field of DockerConfiguration: run_config.docker.arguments.",
    }

    base_image: Annotated[str | None, holding(optional(_IMAGE))] = None
    base_dockerfile: Annotated[str | None, holding(optional(_dockerfile))] = None
    build_context: Annotated[DockerBuildContext | None, OPTIONAL_PART] = None
    base_image_registry: Annotated[ContainerRegistry, PART] = Field(default_factory=ContainerRegistry)
    platform: Annotated[Platform, PART] = Field(default_factory=Platform)

    @property
    def kind(self) -> EnvironmentKind | None:
        """Which of the three it is; ``None``: no image."""
        return next((kind for name, kind in _KINDS.items() if getattr(self, name) is not None), None)

    def _conflicts(self) -> Iterator[Wrong]:
        named = [name for name in _KINDS if getattr(self, name) is not None]
        used = [name for name in named if not is_template(getattr(self, name))]
        if len(used) > 1:
            yield Wrong(f"cannot be used together with {used[0]}", "Keep one of the two.", (used[1],))
        registry = self.base_image_registry
        if not named and registry != ContainerRegistry() and not holds_template(registry):
            yield Wrong("has no image to fetch", "Name the image in base_image.", ("base_image_registry",))


_KINDS = {
    "base_image": EnvironmentKind.DOCKER_IMAGE,
    "base_dockerfile": EnvironmentKind.DOCKERFILE,
    "build_context": EnvironmentKind.DOCKER_BUILD_CONTEXT,
}


class DockerConfiguration(Element):
    """How a container is run.

    :param use_docker: run in a container even where the environment names no image.
    :param shared_volumes: Azure's, and without effect: a run's folders are seen in its container, and no others.
    :param arguments: options of ``docker run``, as items of its command line; ``docker_arguments.py`` has them all.
    :param shm_size: shared memory, for instance ``2g``.
    """

    use_docker: Flag = False
    shared_volumes: Flag = True
    arguments: Annotated[list[str], holding(_arguments)] = Field(default_factory=list)
    shm_size: Annotated[str, holding(text(example="2g", pattern=_SIZE, meaning="a size"))] = DEFAULT_SHM_SIZE

    def _conflicts(self) -> Iterator[Wrong]:
        if self.shm_size == DEFAULT_SHM_SIZE or not isinstance(self.arguments, list):
            return
        if any(isinstance(item, str) and item.partition("=")[0] == "--shm-size" for item in self.arguments):
            yield Wrong("is said by --shm-size in arguments, too", "Keep one of the two.", ("shm_size",))
