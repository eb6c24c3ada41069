"""The Docker target: the supervisor answers from a keeper beside the volume, and each run is a container of its own."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import ProtocolError, TargetError
from airflow_provider.scriptrun.targets import parse
from airflow_provider.scriptrun.targets.archive import supervisor_archive
from airflow_provider.scriptrun.targets.docker import options, proxies
from airflow_provider.scriptrun.targets.docker.begun import has_begun
from airflow_provider.scriptrun.targets.docker.containers import Box, Launcher
from airflow_provider.scriptrun.targets.docker.engine import Engine
from airflow_provider.scriptrun.targets.docker.environments import Environments
from airflow_provider.scriptrun.targets.docker.images import Image, Images
from airflow_provider.scriptrun.targets.docker.keeper import ROOT, Keeper
from airflow_provider.scriptrun.targets.docker.labels import BUILD
from airflow_provider.scriptrun.targets.docker.made import NotMade, Ready
from airflow_provider.scriptrun.targets.docker.registry import Registries
from airflow_provider.scriptrun.targets.docker.remains import Remains
from airflow_provider.scriptrun.targets.host import HostTarget
from airflow_provider.scriptrun.targets.starting import Starting
from airflow_provider.scriptrun.targets.transports.docker import DockerTransport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider.scriptrun.targets.docker.dial import Dial
    from airflow_provider.scriptrun.targets.docker.settings import DockerConnection, Registry
    from airflow_provider.scriptrun.targets.lending import Lending
    from airflow_provider.scriptrun.targets.remembered import RememberedHosts
    from airflow_provider.scriptrun.targets.request import StartRequest
    from airflow_provider.scriptrun.targets.session import Session
    from airflow_provider.scriptrun.targets.status import HostFacts, RunStatus, TargetFacts

#: Of the answer to a start, see ``supervisor/start.py``.
_PREPARED = "prepared"
#: What is remembered of an engine beside its host.
_VERSION, _KEEPER = "version", "keeper"
_MAX_FOLDERS = 10


class DockerTarget(HostTarget):
    """Containers of one engine. What is on it and what was learned of it is remembered as of any host.

    :param connection: what the Airflow connection says.
    :param dial: the way to the engine.
    :param registry: where images come from, with the login.
    :param remembered: what earlier targets on this worker have learned.
    :param host_id: see :class:`HostTarget`; of the engine's volume.
    :param version: see :class:`HostTarget`.
    """

    target_type = "docker"

    def __init__(
        self,
        connection: DockerConnection,
        dial: Dial,
        registry: Registry | None,
        remembered: RememberedHosts,
        *,
        host_id: str | None = None,
        version: str | None = None,
    ) -> None:
        self.connection = connection
        self.engine = Engine(dial)
        here = remembered.of(dial.name, connection.volume, connection.interpreter)
        known = here.load()
        lately = known.notes if known is not None else {}
        self.engine.version = lately.get(_VERSION, "")
        self.registry = Registries(self.engine, registry, shares=connection.shares_environments)
        self.images = Images(self.engine, self.registry)
        self.keeper = Keeper(
            self.engine,
            connection.volume,
            connection.interpreter,
            lambda: self.images.get(connection.base_image),
            known=lately.get(_KEEPER),
        )
        self.launcher = Launcher(self.engine, self.keeper, connection.volume)
        self.remains = Remains(self.engine, connection.volume)
        super().__init__(
            DockerTransport(self.engine, self.keeper),
            name=connection.name,
            root=ROOT,
            interpreter=connection.interpreter,
            remembered=here,
            variables={**connection.proxies, **connection.variables},
            max_runs=connection.max_runs,
            host_id=host_id,
            version=version,
        )
        self.root = f"volume:{connection.volume}"
        self.index_url, self.ca_file = connection.index_url, connection.ca_file

    def host(self, *, anew: bool = False) -> HostFacts:
        """See :meth:`ComputeTarget.host`."""
        found = super().host(anew=anew)
        self.engine.restores_live()  # with all that is loaded for the first question, while the supervisor starts
        known = None if self._remembered is None else self._remembered.load()
        if self._remembered is not None and known is not None and known.notes != self._notes():
            self._remembered.save(known.host, known.interpreter, self._notes())
        return found

    def _notes(self) -> dict[str, str]:
        return {_VERSION: self.engine.version, _KEEPER: self.keeper.name()}

    def check(self) -> TargetFacts:
        """See :meth:`ComputeTarget.check`; with what the engine and its registry say. The base image is fetched."""
        from airflow_provider.scriptrun.targets.docker.checking import ask_engine, complete

        engine = ask_engine(self)
        return complete(super().check(), engine)

    def _starting(self, request: StartRequest) -> Starting:
        return _Contained(self, request, self.variables, self._lending)

    def _seen(self, statuses: Mapping[str, RunStatus | None]) -> None:
        self.remains.remove(run for run, status in statuses.items() if status is not None and status.status.is_terminal)

    def box(
        self, request: StartRequest, run_id: str, writable: tuple[str, ...], image: Image
    ) -> tuple[Box, dict[str, Any]]:
        """Return the container of a run, and what the request's ``launch`` says beside: who runs the script."""
        asked = options.read({**self.connection.limits, **request.container})
        box = Box(
            image=image.id,
            image_name=image.name,
            run_id=run_id,
            experiment=request.experiment,
            version=supervisor_archive().version,
            interpreter=self.connection.interpreter,
            writable=writable,
            config=asked.config,
            host_config=asked.host_config,
        )
        return box, {"user": image.user if asked.user is None else asked.user, "groups": list(asked.groups)}


class _Contained(Starting):
    """A start whose run is a container: what the supervisor beside the volume has prepared, we start."""

    def __init__(
        self, target: DockerTarget, request: StartRequest, variables: Mapping[str, str], lending: Lending
    ) -> None:
        super().__init__(request, {**variables, **request.container.get("env", {})}, {}, lending)
        self._target = target

    def _document(self) -> dict[str, Any]:
        document = super()._document()
        # What an image sets is for its programs; and the volume is not a run's to clean.
        document["tools"] = self._offers()
        registry = (self._request.environment.get("image") or {}).get("registry") or {}
        document["secret_environment"].pop(registry.get("secret"), None)  # the engine alone needs it
        launch = {**document["launch"], "contained": True, "inherit": ["*"]}
        secret = proxies.secret(self._target.connection.proxies)
        hidden = {name: value for name, value in launch["variables"].items() if secret.get(name) == value}
        launch["variables"] = {name: value for name, value in launch["variables"].items() if name not in hidden}
        launch["secret_variables"] = {**hidden, **launch["secret_variables"]}
        document["secret_environment"].update(hidden)  # for what installs packages
        document["launch"] = launch
        return document

    def _offers(self) -> dict[str, Any]:
        return {}  # the image has what it needs

    def _fitted(self, request: dict[str, Any], box: Box) -> Box:
        """Return the container, and change what its supervisor is asked, for what it is made for."""
        request["secret_environment"] = {}  # the image holds the environment
        return box

    def _carried_out(self, session: Session, document: dict[str, Any]) -> dict[str, Any]:
        if document.get("outcome") != _PREPARED:
            return document
        fields = parse.Fields(document, f"to the start of run {self._request.run_id}")
        run_id = fields.text("run_id")
        try:
            is_ours = self._begin(session, fields, run_id)
        except BaseException:
            if session.is_reusable:  # else it is closed, and with it the promise to begin the run ends
                with contextlib.suppress(TargetError):
                    self._leave(session, run_id)
            raise
        return {
            "outcome": "accepted",
            "run_id": run_id,
            "status": self._leave(session, run_id),
            "joined": not is_ours,
            "previous": document.get("previous"),
        }

    def _leave(self, session: Session, run_id: str) -> Any:
        """Say that nobody here is about to begin the run any more, and return its status."""
        return session.ask({"op": "leave_run", "run": run_id}).get("status")

    def _begin(self, session: Session, fields: parse.Fields, run_id: str) -> bool:
        """Begin the run, or conclude it; return whether we did, and nobody else."""
        begun = time.monotonic()
        try:
            ready = self._environment(session, run_id)
        except NotMade as error:
            self._conclude(session, run_id, error, time.monotonic() - begun)
            return True
        environment_s = time.monotonic() - begun
        if ready.printed.document:
            session.ask({"op": "conclude", "run": run_id, **ready.printed.document})
        box, who = self._target.box(self._request, run_id, _folders(fields, run_id), ready.image)
        request = self._document()
        request.update(environment=ready.document, environment_s=environment_s)
        box = self._fitted(request, box)
        request["run"] = {**request["run"], "id": run_id}
        request["launch"].update(who)
        request["limits"] = {name: None if "budget" in name or name == "environment_age_s" else value
                             for name, value in request["limits"].items()}  # fmt: skip
        is_ours = self._target.launcher.launch(box, request, lambda run: has_begun(session, run))
        self._target.remains.sweep()
        return is_ours

    def _environment(self, session: Session, run_id: str) -> Ready:
        def build(request: StartRequest, name: str, image: Image) -> None:
            _Building(self._target, request, self._variables, self._lending, name, image)(session)

        return Environments(self._target, session, run_id, build).ready(self._request)

    def _conclude(self, session: Session, run_id: str, error: NotMade, environment_s: float) -> None:
        ask: dict[str, Any] = {"op": "conclude", "run": run_id, **error.printed.document}
        ask["environment_s"] = environment_s
        if error.failure is not None:
            ask["error"] = {
                "reason": error.failure.reason.value,
                "message": error.failure.message,
                "resolution": error.failure.is_unresolvable,
            }
        session.ask(ask)


class _Building(_Contained):
    """The start of a run that builds an environment into its container, which becomes an image."""

    def __init__(
        self, target: DockerTarget, request: StartRequest, variables: Mapping[str, str], lending: Lending,
        name: str, image: Image,
    ) -> None:  # fmt: skip
        super().__init__(target, request, {**variables, **target.connection.proxies}, lending)
        self._name, self._image = name, image

    def _offers(self) -> dict[str, Any]:
        return self._lending.offers(self._request.environment)

    def _environment(self, session: Session, run_id: str) -> Ready:
        del session, run_id
        return Ready(self._image, dict(self._request.environment))

    def _fitted(self, request: dict[str, Any], box: Box) -> Box:
        del request  # it needs the credentials
        return replace(box, kind=BUILD, name=self._name)


def _folders(fields: parse.Fields, run_id: str) -> tuple[str, ...]:
    """Return the folders of the root that a run may write to: its own ones, whatever a volume says."""
    folders = fields.texts("writable", _MAX_FOLDERS)
    for folder in folders:
        top, _, name = folder.partition("/")
        if not (folder in (f"runs/{run_id}", "slots") or (top == "checkpoints" and parse.is_sha256(name))):
            raise ProtocolError(f"The keeper lets run {run_id} write to {folder[:200]!r}, which is not its own")
    return folders
