"""What a run's container is made from: an image as it is, one of a Dockerfile, and packages on top of either."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import TargetUnreachableError
from airflow_provider.scriptrun.targets.docker.claims import Claims
from airflow_provider.scriptrun.targets.docker.dockerfile_image import DockerfileImages
from airflow_provider.scriptrun.targets.docker.engine import EngineError
from airflow_provider.scriptrun.targets.docker.made import NotMade, Ready
from airflow_provider.scriptrun.targets.docker.package_image import PackageImages
from airflow_provider.scriptrun.targets.docker.registry import own_login

if TYPE_CHECKING:
    from airflow_provider.scriptrun.targets.docker.images import Image
    from airflow_provider.scriptrun.targets.docker.package_image import Start
    from airflow_provider.scriptrun.targets.docker.target import DockerTarget
    from airflow_provider.scriptrun.targets.request import StartRequest
    from airflow_provider.scriptrun.targets.session import Session

_PACKAGES = ("pip", "conda")
log = logging.getLogger(__name__)


class Environments:
    """Makes what one start needs, and then lets go of what nobody has needed for long.

    :param run_id: the run that is started.
    :param start: starts a run that builds; see :class:`PackageImages`.
    """

    def __init__(self, target: DockerTarget, session: Session, run_id: str, start: Start) -> None:
        self._target, self._session, self._run_id = target, session, run_id
        self._claims = Claims(session, run_id)
        self._dockerfiles = DockerfileImages(target, self._claims)
        self._packages = PackageImages(target, session, self._claims, start)

    def ready(self, request: StartRequest) -> Ready:
        """Return it, built first where it is missing. Raises :class:`NotMade`, and what the engine refuses."""
        base, output = self._base(request)
        plan = dict(request.environment)
        ready = Ready(base, plan)
        if "image" not in plan and plan.get("kind") not in _PACKAGES:  # the keeper's own image, as it is
            self._session.ask({"op": "give_facts", "run": self._run_id})
        elif plan.get("kind") in _PACKAGES:
            try:
                ready = self._packages.ready(request, base)
            except NotMade as error:
                raise NotMade(replace(error.printed, output=output), error.failure) from None
        if output:  # so something was built for this run
            ready = replace(ready, document={**ready.document, "reused": False})
        ready = replace(ready, printed=replace(ready.printed, output=output))
        if ready.printed.document:
            self._prune(request)
        return ready

    def _base(self, request: StartRequest) -> tuple[Image, str]:
        """Return the image below the packages, and what was printed while it was made."""
        named = request.environment.get("image") or {}
        if named.get("dockerfile") is not None or named.get("context") is not None:
            return self._dockerfiles.image(request)
        own = own_login(named, request.secret_environment)
        name = named.get("reference") or self._target.connection.base_image
        return self._target.images.get(name, own, named.get("platform")), ""

    def _prune(self, request: StartRequest) -> None:
        """Remove images that were made for runs of this volume and may go; one that a container has stays."""
        images = self._target.images
        try:
            tags = {tag.rpartition(":")[2]: tag for tag in images.made_for(self._target.connection.volume)}
            for key in self._claims.spared(list(tags), request.limits):
                images.remove(tags[key])
            for image in images.superseded(self._target.connection.volume):
                images.remove(image)
        except (EngineError, TargetUnreachableError) as error:
            log.warning("Images that nobody needs any more stay: %s", error)
