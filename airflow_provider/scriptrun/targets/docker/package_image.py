"""Packages on an image: installed once, in a container of that image, which becomes an image itself."""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import TargetError, TargetRefusedError, UnknownRunError
from airflow_provider.scriptrun.supervisor.protocol.canonical import canonical_json, digest
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets.docker import sharing
from airflow_provider.scriptrun.targets.docker.begun import has_begun
from airflow_provider.scriptrun.targets.docker.claims import Noted
from airflow_provider.scriptrun.targets.docker.engine import COPY_PATIENCE_S
from airflow_provider.scriptrun.targets.docker.labels import (
    ENVIRONMENT,
    KIND_LABEL,
    RUN_LABEL,
    VOLUME_LABEL,
    image_tag,
)
from airflow_provider.scriptrun.targets.docker.made import Failure, NotMade, Printed, Ready
from airflow_provider.scriptrun.targets.exchange import ask_news
from airflow_provider.scriptrun.targets.news import Cursor
from airflow_provider.scriptrun.targets.request import Attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider.scriptrun.targets.docker.claims import Claims
    from airflow_provider.scriptrun.targets.docker.images import Image
    from airflow_provider.scriptrun.targets.docker.target import DockerTarget
    from airflow_provider.scriptrun.targets.request import StartRequest
    from airflow_provider.scriptrun.targets.session import Session
    from airflow_provider.scriptrun.targets.status import RunStatus

    #: Starts a run that builds, in a container with this name, of this image.
    Start = Callable[[StartRequest, str, Image], None]

#: Raised by one when what is built from the same recipe changes: with that of the supervisor's environments.
SCHEMA = 1
ENVIRONMENT_LABEL, RESOLVED_LABEL = "scriptrun.environment", "scriptrun.resolved_at"
_POLL_S, _POLL_BYTES, _PAUSE_S = 1.0, 1024 * 1024, 0.1
#: From the making of a container to its start: whoever needs longer for that has died.
_START_S = 10.0
#: After an image could not be made anew, the old one is used without a try for this long.
RETRY_S = 3600.0
log = logging.getLogger(__name__)


def key_of(plan: Mapping[str, Any], base: Image) -> str:
    """Return the key of an environment: of its packages, and of what they are installed on.

    A registry may have images of several platforms under one digest.
    """
    recipe = {name: value for name, value in plan.items() if name not in ("delivery", "image")}
    document = {"schema": SCHEMA, "recipe": recipe, "image": base.digest, "platform": base.platform}
    return digest(canonical_json(document))


class PackageImages:
    """Makes the images of one start's packages.

    :param start: starts a run that builds, in a container with this name, of this image.
    """

    def __init__(self, target: DockerTarget, session: Session, claims: Claims, start: Start) -> None:
        self._target, self._session, self._claims, self._start = target, session, claims, start

    def ready(self, request: StartRequest, base: Image) -> Ready:
        """Return the image with the packages of the request's environment, built first where it is missing.

        :param base: what they are installed on.
        :raises NotMade: they cannot be installed, or the run was cancelled.
        """
        plan = request.environment
        one = _Environment(key_of(plan, base), self._target.connection.volume, base)
        begun = time.monotonic()
        image, build = self._fresh(one, plan["delivery"]), None
        while image is None:
            try:
                image, ours = self._made(request, one)
            except NotMade as error:  # noqa: PERF203 - a build costs more than a try
                image = self._old(one, plan["delivery"], error)
            else:
                build = ours or build
        if build is not None:
            log.info("environment %s was built in %.1f s", one.key[:12], time.monotonic() - begun)
            sharing.publish(self._target.registry, one.tag)
        document = {
            "schema": 1, "kind": "built", "of": plan["kind"], "key": image.labels[ENVIRONMENT_LABEL],
            "reused": build is None, "delivery": plan["delivery"],
        }  # fmt: skip
        return Ready(image, document, Printed(build=build))

    def _fresh(self, one: _Environment, delivery: dict[str, Any]) -> Image | None:
        if delivery.get("refresh"):
            return None
        image = self._target.images.find(one.tag) or sharing.fetched(self._target.registry, one.tag)
        if image is None or ENVIRONMENT_LABEL not in image.labels:  # a registry's may be anybody's
            return None
        limit = delivery["lock_max_age_s"]
        noted, now = self._claims.use(one.key), time.time()
        is_young = limit is None or now - _resolved_at(image, noted) < limit
        return image if is_young or now < noted.retry_at else None

    def _old(self, one: _Environment, delivery: dict[str, Any], error: NotMade) -> Image:
        """Return the image that was to be made anew for its age, where that cannot be; else raise the error.

        Nobody tries to for an hour then, as on a host.
        """
        failure, image = error.failure, self._target.images.find(one.tag)
        may_help = failure is not None and failure.reason is Reason.ENVIRONMENT and not failure.is_unresolvable
        if image is None or not may_help or delivery.get("refresh"):
            raise error
        log.warning("environment %s could not be made anew, and is used as it is: %s", one.key[:12], error)
        noted = Noted(_resolved_at(image, self._claims.use(one.key)), time.time() + RETRY_S)
        with self._claims.claimed(one.key, f"the image of environment {one.key[:12]}", lambda: False) as claim:
            if claim is not None:
                claim.note(image.size - one.base.size, noted)
        return image

    def _made(self, request: StartRequest, one: _Environment) -> tuple[Image | None, str | None]:
        """Build, or wait for who does; the image, and the build's run when that was ours.

        No image: the build has vanished, for instance with the volume. It is looked for anew then.
        """
        engine, ours = self._target.engine, None
        found = engine.container(one.container)
        if found is None:
            ours = f"environment-{one.key[:16]}-{uuid.uuid4().hex[:12]}"
            log.info("building environment %s in a container of %s", one.key[:12], one.base.name)
            self._start(_builder(request, ours), one.container, one.base)
            found = engine.container(one.container)
            if found is None:
                return self._target.images.find(one.tag), None
        build = str(found["Config"]["Labels"].get(RUN_LABEL))
        if build != ours:
            ours = None
            if self._is_abandoned(found, build):
                return None, None
            log.info("waiting for environment %s, which run %s builds", one.key[:12], build)
        try:
            status = self._watched(build)
        except UnknownRunError:  # its volume was removed, and another one made
            self._remove(found["Id"])
            return None, None
        if status.status is not Status.COMPLETED or status.environment is None:
            self._remove(found["Id"])
            raise NotMade(Printed(build=build), _failure(status))
        return self._committed(str(found["Id"]), one, status.environment.id), ours

    def _is_abandoned(self, found: dict[str, Any], build: str) -> bool:
        """Whether whoever made the container died before the build began; it is removed then, to be made anew."""
        deadline = time.monotonic() + _START_S
        there: dict[str, Any] | None = found
        while there is not None and not has_begun(self._session, build):
            if time.monotonic() > deadline:
                self._remove(found["Id"])
                return True
            time.sleep(_PAUSE_S)
            there = self._target.engine.container(found["Id"])
        return there is None

    def _remove(self, container: str) -> None:
        """Remove a container whose build is over, or never began; its first process may still be about to leave."""
        with suppress(TargetError):  # another one is at it
            self._target.engine.call(
                "a container's removal", lambda client: client.remove_container(container, v=True, force=True)
            )

    def _watched(self, build: str) -> RunStatus:
        """Follow a build to its end; its lines go to the log as they come."""
        cursor, status = Cursor(build), None
        while True:
            ask = {"op": "poll", "wait_s": _POLL_S, "max_bytes": _POLL_BYTES, "runs": [
                {"id": build, "seen": cursor.seen, "streams": {s.value: n for s, n in cursor.offsets.items()}}
            ]}  # fmt: skip
            for news in ask_news(self._session, ask, {build: cursor}, _POLL_S, _POLL_BYTES):
                if news.error is not None:
                    raise news.error
                status = news.status or status
                for part in news.parts:
                    for line in part.data.decode("utf-8", "replace").splitlines():
                        log.info("build: %s", line)
                cursor = cursor.after(news)
                if news.is_last and status is not None:
                    return status
            self._claims.refuse_cancelled(Printed(build=build))

    def _committed(self, container: str, one: _Environment, identifier: str) -> Image | None:
        """Make the container an image, unless another one has; where that came out as it was, the image stays.

        :param identifier: the environment's, which is its lock's: the packages to the version.
        """
        engine, images = self._target.engine, self._target.images
        what = f"the image of environment {one.key[:12]}"
        with self._claims.claimed(one.key, what, lambda: engine.container(container) is None) as claim:
            if claim is not None:
                before = images.find(one.tag)
                try:
                    if before is None or before.labels.get(ENVIRONMENT_LABEL) != identifier:
                        self._commit(container, one, identifier)
                        if before is not None:
                            images.remove(before.id)
                finally:
                    self._remove(container)
            image = images.find(one.tag)
            if claim is not None and image is not None:
                claim.note(image.size - one.base.size, Noted(time.time()))
        if claim is not None and image is None:
            raise TargetRefusedError(f"{engine.name} has made the image {one.tag}, and does not have it")
        return image

    def _commit(self, container: str, one: _Environment, identifier: str) -> None:
        config = {
            "Entrypoint": one.base.config.get("Entrypoint") or [],
            **{
                field: one.base.config[field]
                for field in ("Cmd", "User", "Env", "WorkingDir")
                if one.base.config.get(field)
            },
            "Labels": {
                VOLUME_LABEL: one.volume, KIND_LABEL: ENVIRONMENT, RUN_LABEL: "",
                ENVIRONMENT_LABEL: identifier, RESOLVED_LABEL: str(time.time()),
            },
        }  # fmt: skip
        repository, _, version = one.tag.rpartition(":")
        self._target.engine.call(
            f"the image {one.tag}",
            lambda client: client.commit(container, repository, tag=version, conf=config),
            patience_s=COPY_PATIENCE_S,
        )


class _Environment:
    """What an environment's image, and the container that it is built in, are called.

    :param base: the image below.
    """

    def __init__(self, key: str, volume: str, base: Image) -> None:
        self.key, self.volume, self.base = key, volume, base
        self.tag = image_tag(volume, ENVIRONMENT, key)
        self.container = f"{volume}-build-{key[:24]}"


def _builder(request: StartRequest, run_id: str) -> StartRequest:
    """Return the start of the run that builds the environment of ``request``, and does nothing else."""
    return replace(
        request, run_id=run_id, lineage=str(uuid.uuid4()), snapshot_id=None, inputs={}, argv=(), variables={},
        attempt=Attempt(), secret_variables={}, container={}, context={}, bases=(),
    )  # fmt: skip


def _resolved_at(image: Image, noted: Noted) -> float:
    return max(noted.resolved_at, float(image.labels.get(RESOLVED_LABEL, 0)))


def _failure(status: RunStatus) -> Failure:
    return Failure(status.reason or Reason.ENVIRONMENT, status.message or "", status.is_unresolvable)
