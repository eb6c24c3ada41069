"""A machine over SSH whose user may use the Docker engine that runs there."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from tests.docker.engine import PrivateEngine
from tests.network.sshd import Sshd


class DockerVm:
    """A server and an engine. The user is of the group that may use the engine's socket, and no more than that.

    Sessions have ``DOCKER_HOST`` and the ``docker`` command, so that ``docker system dial-stdio`` leads to the engine.

    :param load: references of images that the engine gets from the machine's one.
    """

    def __init__(self, *, load: Sequence[str] = ()) -> None:
        self.sshd = Sshd(other_user=True)
        try:
            self.engine = PrivateEngine(load=load, group=self.sshd.host.group_id)
        except BaseException:
            self.sshd.stop()
            raise
        self.restart()

    def restart(self, variable: str | None = None) -> None:
        """Start the server anew. Sessions have this variable (``NAME=value``) in place of the one that they need."""
        self.sshd.restart({"SetEnv": variable or f"DOCKER_HOST={self.engine.url}"})

    @property
    def url(self) -> str:
        """The engine's address as ``DOCKER_HOST`` of another machine has it."""
        host = self.sshd.host
        return f"ssh://{host.user}@{host.address}:{host.port}"

    def remove(self) -> None:
        """End both; nothing is left."""
        self.engine.remove()
        self.sshd.stop()

    def __enter__(self) -> DockerVm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()
