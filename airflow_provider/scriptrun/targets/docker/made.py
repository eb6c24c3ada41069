"""What making an environment's image comes to: the image that there is then, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider.scriptrun.supervisor.protocol.status import Reason
    from airflow_provider.scriptrun.targets.docker.images import Image


@dataclass(frozen=True)
class Printed:
    """What was printed for a run while its environment was made; nothing for an environment that was there.

    :param output: what the engine said.
    :param build: the run that installed the packages.
    """

    output: str = ""
    build: str | None = None

    @property
    def document(self) -> dict[str, Any]:
        """As the ``conclude`` request has it; empty: nothing was printed."""
        return {name: value for name, value in (("output", self.output), ("build", self.build)) if value}


@dataclass(frozen=True)
class Ready:
    """What a run's container is made from, and the environment's document for its supervisor."""

    image: Image
    document: dict[str, Any]
    printed: Printed = field(default_factory=Printed)


@dataclass(frozen=True)
class Failure:
    """Why an environment cannot be made.

    :param is_unresolvable: another try cannot help.
    """

    reason: Reason
    message: str
    is_unresolvable: bool = False


class NotMade(Exception):  # noqa: N818  # no error of the target: how the run ends
    """The environment cannot be made; ``failure`` is ``None`` when the run was cancelled meanwhile."""

    def __init__(self, printed: Printed, failure: Failure | None) -> None:
        super().__init__(failure.message if failure else "cancelled")
        self.printed, self.failure = printed, failure
