"""An image of a Dockerfile: built once through the engine's build API, by whoever holds the claim to it.

The build is the worker's: it ends with it, and the next one goes on from the steps that the engine has kept. Those of
a build that fails are removed by the last one who wanted it, as no name leads to them by which anybody would. What a
Dockerfile says is a user's, and sees no secret of ours. Its image has no labels of ours: each would be a step more.
"""

from __future__ import annotations

import io
import logging
import queue
import re
import tarfile
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from airflow_provider.scriptrun.environments.build_context import BuildContext
from airflow_provider.scriptrun.errors import ConfigurationError
from airflow_provider.scriptrun.supervisor.protocol.canonical import canonical_json, digest
from airflow_provider.scriptrun.supervisor.protocol.status import Reason
from airflow_provider.scriptrun.targets.docker import proxies, sharing
from airflow_provider.scriptrun.targets.docker.claims import Noted
from airflow_provider.scriptrun.targets.docker.dial import Severable
from airflow_provider.scriptrun.targets.docker.dockerfile import base_images
from airflow_provider.scriptrun.targets.docker.engine import Engine, EngineError, full, is_full
from airflow_provider.scriptrun.targets.docker.labels import BASE, image_tag
from airflow_provider.scriptrun.targets.docker.made import Failure, NotMade, Printed
from airflow_provider.scriptrun.targets.docker.registry import own_login

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider.scriptrun.targets.docker.claims import Claims
    from airflow_provider.scriptrun.targets.docker.images import Image
    from airflow_provider.scriptrun.targets.docker.target import DockerTarget
    from airflow_provider.scriptrun.targets.request import StartRequest

#: Raised by one when the same Dockerfile is built in another way.
SCHEMA = 1
_LOOK_S = 1.0
_SHOWN_LINES = 20
_BAD_REQUEST = 400
_NAME = "Dockerfile"
#: How the classic builder names the image of a step.
_STEP = re.compile(r" ---> ([0-9a-f]{12,64})")
#: What a build ends with when any image on the same base is removed while the engine looks for steps that it has
#: (moby's ``image/cache``: it lists them, and then reads each).
_VANISHED, _MORE_TRIES = re.compile(r'unable to find image "sha256:'), 3
log = logging.getLogger(__name__)


class DockerfileImages:
    """Makes the images of one start's Dockerfile."""

    def __init__(self, target: DockerTarget, claims: Claims) -> None:
        self._target, self._claims = target, claims
        self._failed_steps: list[str] = []

    def image(self, request: StartRequest) -> tuple[Image, str]:
        """Return the image of the request's Dockerfile, built first where it is missing, and what that printed.

        Its ``digest`` is the key: of the Dockerfile, its build context, the platform, and the images it begins with.

        :raises NotMade: a step of it fails, or the run was cancelled.
        """
        named, images = request.environment["image"], self._target.images
        own = own_login(named, request.secret_environment)
        bases = [images.get(name, own, named["platform"]) for name in base_images(_text(named))]
        recipe = {name: named.get(name) for name in ("dockerfile", "dockerfile_path", "context_digest")}
        recipe["platform"] = named.get("platform") or self._target.engine.platform  # engines share what they build
        digests = {base.name: base.digest for base in bases}
        key = digest(canonical_json({"schema": SCHEMA, "recipe": recipe, "bases": digests}))
        tag = image_tag(self._target.connection.volume, BASE, key)
        found, output = images.find(tag), ""
        if found is None or request.environment["delivery"].get("refresh"):
            try:
                found, output = self._made(named, key, tag, found, bases)
            finally:
                if self._failed_steps:
                    self._remove_steps(key, bases)
        self._claims.use(key)
        return replace(found, digest=key), output

    def _made(
        self, named: Mapping[str, Any], key: str, tag: str, before: Image | None, bases: Sequence[Image]
    ) -> tuple[Image, str]:
        """Make it, unless another one does, and what that printed; ``before`` is what there was."""
        images, output = self._target.images, ""
        with self._claims.claimed(key, "an image", lambda: _is_other(images.find(tag), before)) as claim:
            if claim is None:
                return images.named(tag), ""
            if before is not None or sharing.fetched(self._target.registry, tag) is None:
                output = self._built(named, tag, anew=before is not None)
                sharing.publish(self._target.registry, tag)
            found = images.named(tag)
            claim.note(found.size - min((base.size for base in bases), default=0), Noted(time.time()))
            if before is not None and before.id != found.id:
                images.remove(before.id)
        return found, output

    def _built(self, named: Mapping[str, Any], tag: str, *, anew: bool) -> str:
        """Build it, all of its steps ``anew`` if so; return what the engine printed."""
        begun = time.monotonic()
        log.info("building the image of a Dockerfile, %s", tag)
        if bare := proxies.secret(self._target.connection.proxies):
            log.warning("it is built without the credentials in %s: a layer could keep them", ", ".join(bare))
        output = self._printed(named, tag, anew=anew)
        for _ in range(_MORE_TRIES):
            if output.failure is None or not _VANISHED.match(output.failure):
                break
            log.info("another image was removed while the engine looked for steps that it has: once more")
            output = self._printed(named, tag, anew=anew)
        if output.failure is not None:
            self._failed_steps = output.steps
            if is_full(output.failure):
                raise full(self._target.engine.name, "There is no space left for the image", output.failure)
            raise NotMade(Printed(output.text), _failure(output))
        log.info("the image was built in %.1f s", time.monotonic() - begun)
        return output.text

    def _printed(self, named: Mapping[str, Any], tag: str, *, anew: bool) -> _Output:
        """Let the engine build, in a thread, so that a cancel is seen; return what it printed, and how it ended."""
        output = _Output()
        dial = Severable(self._target.engine.dial)
        work = threading.Thread(target=self._build, args=(dial, named, tag, anew, output), daemon=True)
        work.start()
        try:
            while output.wait(_LOOK_S):
                self._claims.refuse_cancelled(Printed(output.text))
        finally:
            dial.sever()
            work.join()
        if output.error is not None:
            raise output.error
        return output

    def _remove_steps(self, key: str, bases: Sequence[Image]) -> None:
        """Remove the images of steps that have come to nothing; one that has a name, a container or a child stays.

        Whoever waited for the image goes on from them, and removes them if that fails, too.
        """
        spared = {base.id for base in bases}  # of which one may have been asked for by its id
        with self._claims.left_over(key) as is_left_over:
            for step in reversed(self._failed_steps if is_left_over else []):
                found = self._target.engine.image(step)
                if not (found is None or found["Id"] in spared or found["RepoTags"] or found["RepoDigests"]):
                    self._target.images.remove(step, parents=False)  # below may be a user's own, without a name

    def _build(self, dial: Severable, named: Mapping[str, Any], tag: str, anew: bool, output: _Output) -> None:
        connection = self._target.connection
        engine = Engine(dial)  # a connection of its own, so that a cancel can end it
        try:
            with tempfile.TemporaryFile() as archive:
                _write(archive, named)
                archive.seek(0)
                engine.call(
                    "the build of a Dockerfile",
                    lambda client: output.take(
                        client.build(
                            fileobj=archive, custom_context=True, dockerfile=named.get("dockerfile_path") or _NAME,
                            tag=tag, rm=True, forcerm=True, decode=True, nocache=anew,
                            platform=named.get("platform"), network_mode=connection.limits.get("network"),
                            buildargs=proxies.without_credentials(connection.proxies),
                        )
                    ),
                )  # fmt: skip
        except EngineError as error:
            if error.code == _BAD_REQUEST:  # the Dockerfile itself
                output.failure, output.is_wrong = error.why or str(error), True
            else:
                output.error = error
        except Exception as error:  # noqa: BLE001  # raised where it is waited for
            output.error = error
        finally:
            engine.close()
            output.end()


class _Output:
    """What an engine says while it builds: to the log as it comes, and kept."""

    def __init__(self) -> None:
        self.failure: str | None = None  #: why a step failed
        self.is_wrong = False  #: what is asked for cannot be built by anybody
        self.error: Exception | None = None
        self.steps: list[str] = []  #: ids of the images of the steps so far
        self._lines: list[str] = []
        self._part = ""
        self._end: queue.SimpleQueue[None] = queue.SimpleQueue()

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in list(self._lines))

    @property
    def last_lines(self) -> str:
        return "\n".join(self._lines[-_SHOWN_LINES:])

    def take(self, news: Any) -> None:
        for one in news:
            if one.get("error"):
                self.failure = str(one["error"])
            self._part += str(one.get("stream") or "").replace("\r\n", "\n")
            *lines, self._part = self._part.split("\n")
            for line in lines:
                self._add(line)

    def end(self) -> None:
        if self._part:
            self._add(self._part)
        self._end.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait for the end for at most so long; return whether it has not come."""
        try:
            self._end.get(timeout=seconds)
        except queue.Empty:
            return True
        return False

    def _add(self, line: str) -> None:
        self._lines.append(line)
        if step := _STEP.fullmatch(line):
            self.steps.append(step[1])
        log.info("build: %s", line)


def _is_other(found: Image | None, before: Image | None) -> bool:
    return found is not None and (before is None or found.id != before.id)


def _text(named: Mapping[str, Any]) -> str:
    if named.get("dockerfile") is not None:
        return str(named["dockerfile"])
    path = Path(named["context"], named["dockerfile_path"])
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The Dockerfile {path} cannot be read any more", why=str(error)) from None


def _write(archive: IO[bytes], named: Mapping[str, Any]) -> None:
    """Write what the engine builds in: the context, or the Dockerfile alone."""
    if named.get("context") is not None:
        BuildContext(Path(named["context"]), named["dockerfile_path"]).write_archive(archive, named["context_digest"])
        return
    text = str(named["dockerfile"]).encode()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        item = tarfile.TarInfo(_NAME)
        item.size = len(text)
        tar.addfile(item, io.BytesIO(text))


def _failure(output: _Output) -> Failure:
    what = "The Dockerfile cannot be built" if output.is_wrong else "A step of the Dockerfile failed"
    message = f"{what}: {output.failure}"
    if not output.is_wrong:
        message += f"\nIts last lines:\n{output.last_lines}"
    return Failure(Reason.ENVIRONMENT, message, output.is_wrong)
