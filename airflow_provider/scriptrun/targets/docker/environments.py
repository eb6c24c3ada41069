"""Environments as images: packages are installed once, in a container of the base image, which becomes an image."""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import TargetError, TargetRefusedError, UnknownRunError
from airflow_provider.scriptrun.supervisor.protocol.canonical import canonical_json, digest
from airflow_provider.scriptrun.targets import parse
from airflow_provider.scriptrun.targets.docker.engine import EngineError
from airflow_provider.scriptrun.targets.docker.labels import KIND_LABEL, RUN_LABEL, VOLUME_LABEL
from airflow_provider.scriptrun.targets.exchange import ask_news
from airflow_provider.scriptrun.targets.news import Cursor
from airflow_provider.scriptrun.targets.request import Attempt

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider.scriptrun.targets.docker.images import Image
    from airflow_provider.scriptrun.targets.docker.target import DockerTarget
    from airflow_provider.scriptrun.targets.request import StartRequest
    from airflow_provider.scriptrun.targets.session import Session
    from airflow_provider.scriptrun.targets.status import RunStatus

ENVIRONMENT = "environment"
#: Raised by one when what is built from the same recipe changes: with that of the supervisor's environments.
SCHEMA = 1
ENVIRONMENT_LABEL, RESOLVED_LABEL = "scriptrun.environment", "scriptrun.resolved_at"
_MADE = ("pip", "conda")
_POLL_S, _POLL_BYTES, _PAUSE_S, _COMMIT_S = 1.0, 1024 * 1024, 0.1, 120.0
#: From the making of a container to its start: whoever needs longer for that has died.

_START_S = 10.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """What a run's container is made from, and the environment's document for its supervisor."""

    image: Image
    document: dict[str, Any]
    build: str | None = None  #: the run that built it for this one


class NotMade(Exception):  # noqa: N818  # no error of the target: how the run ends
    """The environment cannot be made; ``status`` is ``None`` when the run was cancelled meanwhile."""

    def __init__(self, build: str, status: RunStatus | None) -> None:
        super().__init__(build)
        self.build, self.status = build, status


class Environments:
    """Makes what one start needs.

    :param start: starts a run that builds, in a container with this name, of this image.
    """

    def __init__(
        self, target: DockerTarget, session: Session, start: Callable[[StartRequest, str, Image], None]
    ) -> None:
        self._target, self._session, self._start = target, session, start

    def ready(self, request: StartRequest, run_id: str) -> Ready:
        """Return it, built first where it is missing. Raises :class:`NotMade`, and what the engine refuses."""
        plan = dict(request.environment)
        base = self._target.images.get(self._target.image_name(request))
        if plan.get("kind") not in _MADE:
            return Ready(base, plan)
        recipe = {name: value for name, value in plan.items() if name not in ("delivery", "image")}
        key = digest(canonical_json({"schema": SCHEMA, "recipe": recipe, "image": base.digest}))
        volume = self._target.connection.volume
        tag, name = f"{volume.lower()}/environment:{key}", f"{volume}-build-{key[:24]}"
        image, build = self._fresh(tag, plan["delivery"]), None
        while image is None:
            image, ours = self._made(request, run_id, base, tag, name)
            build = ours or build
        document = {
            "schema": 1, "kind": "built", "of": plan["kind"], "key": image.config["Labels"][ENVIRONMENT_LABEL],
            "reused": build is None, "delivery": plan["delivery"],
        }  # fmt: skip
        return Ready(image, document, build)

    def _fresh(self, tag: str, delivery: dict[str, Any]) -> Image | None:
        image = self._target.images.find(tag)
        if image is None or delivery.get("refresh"):
            return None
        age, limit = time.time() - float(image.config["Labels"].get(RESOLVED_LABEL, 0)), delivery["lock_max_age_s"]
        return image if limit is None or age < limit else None

    def _made(
        self, request: StartRequest, run_id: str, base: Image, tag: str, name: str
    ) -> tuple[Image | None, str | None]:
        """Build, or wait for who does; the image, and the build's run when that was ours."""
        engine, ours = self._target.engine, None
        found = engine.container(name) or engine.container(f"{name}-done")
        if found is None:
            ours = f"environment-{tag[-64:-48]}-{uuid.uuid4().hex[:12]}"
            builder = replace(
                request, run_id=ours, lineage=str(uuid.uuid4()), snapshot_id=None, inputs={}, argv=(), variables={},
                attempt=Attempt(), secret_variables={}, container={}, context={}, bases=(),
            )  # fmt: skip
            self._start(builder, name, base)
            found = engine.container(name) or engine.container(f"{name}-done")
            if found is None:
                return self._target.images.find(tag), None
        build = str(found["Config"]["Labels"].get(RUN_LABEL))
        if build != ours:
            ours = None
            if self._is_abandoned(found):
                return None, None
            log.info("waiting for environment %s, which run %s builds", tag[-64:-52], build)
        try:
            status = self._watched(build, run_id)
        except UnknownRunError:  # its volume was removed, and another one made
            self._remove(found["Id"])
            return None, None
        if status is None or status.status.value != "Completed" or status.environment is None:
            self._remove(found["Id"])
            raise NotMade(build, status)
        return self._committed(str(found["Id"]), name, tag, base, status), ours

    def _is_abandoned(self, found: dict[str, Any]) -> bool:
        """Whether whoever made the container died before it was started; it is removed then, to be made anew."""
        deadline = time.monotonic() + _START_S
        there: dict[str, Any] | None = found
        while there is not None and there["State"]["Status"] == "created":
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

    def _watched(self, build: str, run_id: str) -> RunStatus:
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
            answer = parse.Fields(self._session.ask({"op": "status", "runs": [run_id]}), "the status of runs")
            if (answer.inner("runs").document.get(run_id) or {}).get("status") == "Canceled":
                raise NotMade(build, None)

    def _committed(self, container: str, name: str, tag: str, base: Image, status: RunStatus) -> Image | None:
        """Make the image, unless another one does: whoever renames the container is the one."""
        engine, images, done = self._target.engine, self._target.images, f"{name}-done"
        try:
            engine.call(f"the container {name}", lambda client: client.rename(container, done))
        except EngineError:
            deadline = time.monotonic() + _COMMIT_S
            while engine.container(done) is not None and time.monotonic() < deadline:
                time.sleep(_PAUSE_S)
            if engine.container(done) is None:
                return images.find(tag)
        config = {
            "Entrypoint": base.config.get("Entrypoint") or [],
            **{field: base.config[field] for field in ("Cmd", "User", "Env", "WorkingDir") if base.config.get(field)},
            "Labels": {
                VOLUME_LABEL: self._target.connection.volume, KIND_LABEL: ENVIRONMENT, RUN_LABEL: "",
                ENVIRONMENT_LABEL: status.environment.id if status.environment else "",
                RESOLVED_LABEL: str(time.time()),
            },
        }  # fmt: skip
        repository, _, version = tag.rpartition(":")
        try:
            engine.call(
                f"the image {tag}", lambda client: client.commit(container, repository, tag=version, conf=config)
            )
        finally:
            self._remove(container)
        image = images.find(tag)
        if image is None:
            raise TargetRefusedError(f"{engine.name} has made the image {tag}, and does not have it")
        return image
