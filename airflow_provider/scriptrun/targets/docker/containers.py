"""The container of a run: made and started once, by its name, with the request on its standard input."""

from __future__ import annotations

import io
import logging
import os
import posixpath
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, cast

from airflow_provider.scriptrun.errors import (
    ProtocolError,
    TargetError,
    TargetRefusedError,
    TargetUnreachableError,
)
from airflow_provider.scriptrun.supervisor.protocol import frames
from airflow_provider.scriptrun.targets.docker.engine import SUBPATH_API, Engine, EngineError
from airflow_provider.scriptrun.targets.docker.keeper import CONFLICT, NOT_FOUND, ROOT
from airflow_provider.scriptrun.targets.docker.labels import (
    EXPERIMENT_LABEL,
    KIND_LABEL,
    RUN,
    RUN_LABEL,
    VOLUME_LABEL,
)
from airflow_provider.scriptrun.targets.install import PYTHON_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from airflow_provider.scriptrun.targets.docker.keeper import Keeper
    from airflow_provider.scriptrun.targets.docker.streams import EngineStream

#: From the start of a container to its supervisor's word.
PATIENCE_S = 60.0
#: Another one has made a container of this name, and is about to start it, or died before it did. In the longer time
#: it is started, or removed.
UNSTARTED_S, OCCUPIED_S, LOOK_S = 10.0, 60.0, 0.05
_REMOVABLE = ("created", "running", "exited", "dead")
_MAX_ANSWER_BYTES = 16 * 1024
_QUOTED_CHARACTERS = 2000
#: What the supervisor says; another number is an errno. See ``supervisor/contain.py``.
_TAKEN, _CANCELED, _BEGUN, _FAILED = "0", "canceled", "begun", "failed "
log = logging.getLogger(__name__)


class SilentEndError(TargetRefusedError):
    """A container has ended without a word."""


@dataclass(frozen=True)
class Box:
    """What a run's container is like.

    :param image: by its id, so that nothing can change behind a name.
    :param image_name: for messages.
    :param version: of the supervisor.
    :param writable: folders of the root, relative to it, that the run may write to.
    :param kind: what it is for; one that builds stays when it has ended, to become an image.
    :param name: empty: after the run.
    :param config: further fields of the container, as Docker's client names them: ``environment``, ``hostname``, ...
    :param host_config: further fields of its host configuration, likewise: ``shm_size``, ``device_requests``, ...
    """

    image: str
    image_name: str
    run_id: str
    experiment: str
    version: str
    interpreter: str
    writable: Sequence[str]
    kind: str = RUN
    name: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    host_config: Mapping[str, Any] = field(default_factory=dict)


class Launcher:
    """Starts containers of runs on one engine, beside one volume."""

    def __init__(self, engine: Engine, keeper: Keeper, volume: str) -> None:
        self._engine, self._keeper, self._volume = engine, keeper, volume

    def launch(self, box: Box, request: Mapping[str, Any], has_begun: Callable[[str], bool]) -> bool:
        """Start the run's container; return whether its supervisor has taken the run from us.

        Else the run needs no start any more: another one was faster, or it was cancelled, and its status says which.

        :param has_begun: whether the run of this id has a supervisor, or is over. A container of one that has not may
            run all the same: whoever was about to hand it its request has died, or the engine has in between.
        :raises TargetRefusedError: the engine, or the image, cannot run it.
        :raises TargetUnreachableError: the engine went away; the same call may go through later.
        """
        try:
            return self._launch(box, request, has_begun)
        except SilentEndError:  # the engine may have gone in the middle, and come back: where it has not, this fails
            return self._launch(box, request, has_begun)

    def _launch(self, box: Box, request: Mapping[str, Any], has_begun: Callable[[str], bool]) -> bool:
        name = box.name or f"{self._volume}-{box.run_id}"
        identifier = self._create(name, box, has_begun)
        if identifier is None:
            return False
        try:
            stream = self._attach(name, identifier)
            try:
                self._start(name, identifier, box)
                return self._hand_over(stream, name, box, request)
            finally:
                stream.close()
        except BaseException:
            self._remove_unstarted(identifier)
            raise

    def _create(self, name: str, box: Box, has_begun: Callable[[str], bool]) -> str | None:
        """Return the new container; ``None``: there is one, which somebody else has started."""
        begun = time.monotonic()
        while True:
            try:
                made = self._engine.call(f"the container {name}", lambda client: self._make(client, name, box))
            except EngineError as error:
                if error.code != CONFLICT:
                    raise self._unmade(error, box) from None
            else:
                self._warn(box, made.get("Warnings") or ())
                return str(made["Id"])
            there = self._engine.container(name)
            state = None if there is None else there["State"]["Status"]
            if there is not None and state == "running" and has_begun(str(there["Config"]["Labels"].get(RUN_LABEL))):
                return None
            waited = time.monotonic() - begun
            if there is not None and state in _REMOVABLE and waited > UNSTARTED_S:
                self._remove(str(there["Id"]), force=state == "running")
            if waited > OCCUPIED_S:
                raise TargetUnreachableError(
                    f"The name of the container {name} is taken on {self._engine.name} (it is {state or 'not shown'})",
                    advice=f"Look at it with docker inspect {name}. Remove it, or restart an engine that shows none.",
                )
            time.sleep(LOOK_S)

    def _make(self, client: Any, name: str, box: Box) -> Any:
        goes = box.kind == RUN and not self._engine.restores_live()  # see remains.py
        host_config = client.create_host_config(
            auto_remove=goes, log_config={"Type": "none"}, **self._mounts(box), **self._rest(box)
        )
        folder = f"{ROOT}/supervisor/{box.version}"
        return client.create_container(
            box.image,
            name=name,
            entrypoint=[box.interpreter, *PYTHON_OPTIONS, folder, "contain", "--root", ROOT],
            command=[],
            user="0",
            working_dir="/",
            stdin_open=True,
            labels={
                **box.config.get("labels", {}),
                VOLUME_LABEL: self._volume,
                KIND_LABEL: box.kind,
                RUN_LABEL: box.run_id,
                EXPERIMENT_LABEL: box.experiment,
            },
            host_config=host_config,
            **{name: value for name, value in box.config.items() if name != "labels"},
        )

    def _warn(self, box: Box, said: Iterable[str]) -> None:
        """Tell what the engine does otherwise than it is asked to."""
        unheld = [f"it does not hold the limit of {option}" for option in self._engine.unheld(box.host_config)]
        for warning in (*unheld, *said):
            log.warning("%s, of the container of run %s: %s", self._engine.name, box.run_id, warning)

    def _rest(self, box: Box) -> dict[str, Any]:
        return {name: value for name, value in box.host_config.items() if name not in ("binds", "mounts")}

    def _mounts(self, box: Box) -> dict[str, Any]:
        """The root read-only, and over it the run's own folders."""
        binds = [f"{self._volume}:{ROOT}:ro", *box.host_config.get("binds", ())]
        mounts = list(box.host_config.get("mounts", ()))
        if self._engine.api_version >= SUBPATH_API:
            mounts += [
                {
                    "Type": "volume",
                    "Source": self._volume,
                    "Target": posixpath.join(ROOT, folder),
                    "VolumeOptions": {"Subpath": folder},
                }
                for folder in box.writable
            ]
        else:
            where = self._keeper.mountpoint()
            binds += [f"{posixpath.join(where, folder)}:{posixpath.join(ROOT, folder)}:rw" for folder in box.writable]
        return {"binds": binds, "mounts": mounts} if mounts else {"binds": binds}

    def _attach(self, name: str, identifier: str) -> EngineStream:
        path = f"/containers/{identifier}/attach?stream=1&stdin=1&stdout=1&stderr=1"
        return self._engine.hijack(f"the streams of {name}", path)

    def _start(self, name: str, identifier: str, box: Box) -> None:
        try:
            self._engine.call(f"the container {name}", lambda client: client.start(identifier))
        except EngineError as error:
            if error.code == NOT_FOUND and "no such container" in (error.why or "").lower():
                raise TargetUnreachableError(f"The container {name} was removed before it was started") from None
            raise self._unmade(error, box) from None

    def _hand_over(self, stream: EngineStream, name: str, box: Box, request: Mapping[str, Any]) -> bool:
        buffer = io.BytesIO()
        frames.FrameWriter(cast("IO[bytes]", buffer)).json(dict(request))
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it has ended; what it said tells why
                stream.write(buffer.getvalue(), PATIENCE_S)
            answer = stream.line(_MAX_ANSWER_BYTES, PATIENCE_S)
        except TimeoutError:
            raise TargetUnreachableError(
                f"The container {name} was started and says nothing for {PATIENCE_S:.0f} s",
                advice="Is the engine's machine overloaded? The same call may go through later.",
            ) from None
        except OSError as error:
            raise TargetUnreachableError(f"The connection to {self._engine.name} broke", why=str(error)) from None
        if answer in (_TAKEN, _CANCELED, _BEGUN):
            return answer == _TAKEN
        raise self._refused(answer, stream, box)

    def _refused(self, answer: str, stream: EngineStream, box: Box) -> TargetRefusedError | ProtocolError:
        if answer.isdigit():
            return TargetRefusedError(f"Run {box.run_id} cannot begin in its container", why=os.strerror(int(answer)))
        said = answer.removeprefix(_FAILED) if answer.startswith(_FAILED) else ""
        stream.drain()
        said = "\n".join(filter(None, (said, stream.errors.decode("utf-8", "replace").strip())))
        kind = TargetRefusedError if said else SilentEndError
        return kind(
            f"The supervisor does not start in a container of the image {box.image_name}",
            why=f"It said: {said[-_QUOTED_CHARACTERS:]}" if said else None,
            advice=f"The image needs {box.interpreter}, a Python 3.8 or later, for the supervisor.",
        )

    def _unmade(self, error: EngineError, box: Box) -> TargetRefusedError:
        why = error.why or ""
        if "executable file not found" in why or "no such file or directory" in why.lower():
            return TargetRefusedError(
                f"The image {box.image_name} holds no {box.interpreter}",
                why=why,
                advice="The supervisor needs a Python 3.8 or later in the image: install one there, or name where it "
                "is as the connection's interpreter.",
            )
        return TargetRefusedError(
            f"The engine cannot run a container of the image {box.image_name} for run {box.run_id}",
            why=why,
            advice="Look at the container options of the configuration and of the connection.",
        )

    def _remove_unstarted(self, identifier: str) -> None:
        """Remove a container that does not run; one that does is left to itself."""
        with suppress(TargetError):
            there = self._engine.container(identifier)
            if there is not None and there["State"]["Status"] in ("created", "exited", "dead"):
                self._remove(identifier)

    def _remove(self, identifier: str, *, force: bool = False) -> None:
        with suppress(TargetRefusedError):  # it is being removed
            self._engine.call(
                "a container's removal", lambda client: client.remove_container(identifier, v=True, force=force)
            )
