"""What an engine reaches in registries: whether they let it in, what they have, images that are fetched and published.

The engine asks, over its own network: a worker needs no way to a registry.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import TargetError
from airflow_provider.scriptrun.targets.docker import registry_calls
from airflow_provider.scriptrun.targets.docker.engine import Engine, EngineError
from airflow_provider.scriptrun.targets.docker.images import read_image
from airflow_provider.scriptrun.targets.docker.registry_answers import Answer, Found, Obstacle, read_error
from airflow_provider.scriptrun.targets.docker.settings import DOCKER_HUB, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from docker import APIClient

    Move = Callable[[APIClient, dict[str, str]], Iterable[Mapping[str, Any]]]

#: Docker Hub's names in front of an image, and its address where logins are checked.
_HUB_NAMES = frozenset({"index.docker.io", "registry-1.docker.io"})
_HUB_LOGIN = "https://index.docker.io/v1/"
#: What is looked for to learn whether a registry answers: there or not, it has to say.
_PROBE, _HUB_PROBE = "scriptrun-check:none", "hello-world:latest"
#: Another one that shares the same image at the same time removes the name that it had for it.
_ATTEMPTS = 3
_UNTAGGED = "does not exist locally"
log = logging.getLogger(__name__)


class Registries:
    """Registries as one engine reaches them.

    :param connection: the connection's registry, with its login; images of others are asked for without one.
    :param shares: whether environments are shared in the connection's registry.
    :param answer_s: how long a registry may take for an answer; ``stall_s``: to go on with an image.
    """

    def __init__(
        self,
        engine: Engine,
        connection: Registry | None,
        *,
        shares: bool = False,
        answer_s: float = registry_calls.ANSWER_S,
        stall_s: float = registry_calls.STALL_S,
    ) -> None:
        self._engine, self.connection = engine, connection
        self._answer_s, self._stall_s = answer_s, stall_s
        self._shares = shares and connection is not None and connection.address != DOCKER_HUB

    def login_for(self, name: str, own: Registry | None = None) -> Registry | None:
        """Return the registry with the login that an image is asked for with; ``None``: it is for everybody.

        :param own: of an environment: beats the connection's.
        """
        host = host_of(name)
        found = next((one for one in (own, self.connection) if one is not None and one.host == host), None)
        return None if found is None or found.username is None else found

    def look(self, name: str, own: Registry | None = None) -> Found:
        """Return whether a registry has an image; nothing is fetched.

        :raises TargetUnreachableError: the engine is away, whatever its registries say.
        """
        login = self.login_for(name, own)
        try:
            found = self._engine.call(
                f"the image {name} of its registry",
                lambda client: registry_calls.describe(client, name, _credentials(login), self._answer_s),
            )
        except EngineError as error:
            return _read(error.code, error.why or "", name, login)
        except registry_calls.Silence as silence:
            return self._unanswered(silence)
        descriptor = found.get("Descriptor")
        digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
        return Found(Answer.YES, digest=None if digest is None else str(digest))

    def admits(self) -> Found | None:
        """Return whether the connection's registry lets us in; ``None``: the connection has none.

        No is a login that it refuses, or that it lets nobody in without one. Raises what :meth:`look` does.
        """
        own = self.connection
        if own is None:
            return None
        if own.username is not None:
            refused = self._login(own)
            if refused is not None:
                return refused
        found = self.look(_HUB_PROBE if own.host == DOCKER_HUB else f"{own.address}/{_PROBE}")
        if found.obstacle is Obstacle.REFUSED:  # many do not tell what one may not see from what is not there
            return Found(Answer.YES) if own.username is not None else replace(found, answer=Answer.NO)
        return found if found.answer is Answer.UNKNOWN else Found(Answer.YES)

    def fetch(self, name: str, own: Registry | None = None, platform: str | None = None) -> Found:
        """Bring an image onto the engine; of another platform than the one asked for, it counts as not there.

        :param own: see :meth:`login_for`.
        :param platform: ``linux/arm64``; ``None``: what the engine's machine is.
        :raises TargetUnreachableError: the engine is away, whatever its registries say.
        """
        log.info("fetching the image %s", name)
        repository, tag = split(name)

        def pull(client: APIClient, credentials: dict[str, str]) -> Iterable[Mapping[str, Any]]:
            return registry_calls.pull(client, repository, tag, platform, credentials, self._stall_s)

        # an engine may have mirrors of Docker Hub, which it asks for images alone
        silent = None if host_of(name) == DOCKER_HUB else self._silence(name, own)
        if silent is not None:
            return silent
        for _ in range(_ATTEMPTS):
            trouble = self._moved(name, self.login_for(name, own), pull)
            if trouble is not None:
                return trouble
            document = self._engine.image(name)
            if document is not None:
                break
        else:
            return Found(Answer.UNKNOWN, Obstacle.FAILING, f"{self._engine.name} has fetched it, and does not have it")
        image = read_image(name, document)
        if not image.is_for(platform):
            return Found(Answer.NO, None, f"What is there is for {image.platform}, and {platform} was asked for")
        return Found(Answer.YES, digest=image.digest, image=image)

    def publish(self, image: str, name: str, own: Registry | None = None) -> None:
        """Bring an image of the engine into a registry, under a name that begins with the registry's address.

        :param image: its id, or a name that it has.
        :raises TargetRefusedError: the registry refuses it, or says nothing that makes sense.
        :raises TargetUnreachableError: the registry, or the engine, is away.
        """
        repository, tag = split(name)

        def push(client: APIClient, credentials: dict[str, str]) -> Iterable[Mapping[str, Any]]:
            client.tag(image, repository, tag)
            return registry_calls.push(client, repository, tag, credentials, self._stall_s)

        trouble = self._silence(name, own)
        for _ in range(_ATTEMPTS if trouble is None else 0):
            trouble = self._moved(name, self.login_for(name, own), push)
            if trouble is None or _UNTAGGED not in trouble.why:
                break
        if trouble is not None:
            raise trouble.error(f"The image {name} cannot be published")

    def _silence(self, name: str, own: Registry | None) -> Found | None:
        """Return why a registry answers nothing that makes sense; ``None``: it does.

        An engine pushes each layer again and again to one that does not, for most of a minute, and waits for an image
        of one that says nothing for ever.
        """
        found = self.look(name, own)
        return found if found.obstacle not in (None, Obstacle.REFUSED) else None

    # Environments, which engines share

    def shared_name(self, tag: str) -> str | None:
        """Return how an image of ours, known here by ``tag``, is called in the connection's registry.

        ``None``: the connection shares none. Its path is one word: not every registry has folders in folders.
        """
        if not self._shares or self.connection is None:
            return None
        repository, version = split(tag)
        return f"{self.connection.address}/{repository.replace('/', '-')}:{version}"

    def fetch_shared(self, tag: str) -> Found:
        """Bring an image of ours onto the engine, under ``tag``. :attr:`Answer.NO` where nothing is shared.

        Raises what :meth:`fetch` does.
        """
        name = self.shared_name(tag)
        if name is None:
            return Found(Answer.NO, why="The connection shares no environments")
        for _ in range(_ATTEMPTS):
            found = self.fetch(name)
            if found.image is None:
                return found
            if self._tagged(found.image.id, tag):
                self._untag(name)
                return replace(found, image=replace(found.image, name=tag))
        return Found(Answer.UNKNOWN, Obstacle.FAILING, f"Others change {name} at the same time")

    def publish_shared(self, tag: str) -> None:
        """Bring the image ``tag`` of ours into the connection's registry; nothing happens where none is shared.

        Raises what :meth:`publish` does.
        """
        name = self.shared_name(tag)
        if name is None:
            return
        try:
            self.publish(tag, name)
        finally:
            self._untag(name)

    def _tagged(self, image: str, tag: str) -> bool:
        """Name an image; return whether it was still there."""
        return bool(self._engine.find(f"the image {tag}", lambda client: client.tag(image, *split(tag))))

    def _untag(self, name: str) -> None:
        """Forget a second name of an image, under which nobody would look for it here."""
        try:
            self._engine.find(f"the image {name}", lambda client: client.remove_image(name, noprune=True))
        except TargetError as error:  # the image is of use all the same
            log.debug("the image %s keeps this name: %s", name, error)

    # What the engine is asked

    def _login(self, registry: Registry) -> Found | None:
        """Return why a registry does not let a login in; ``None``: it does."""
        document = {
            "username": registry.username or "",
            "password": registry.password or "",
            "serveraddress": _HUB_LOGIN if registry.host == DOCKER_HUB else registry.host,
        }

        try:
            self._engine.call(
                f"a login to {registry.host}",
                lambda client: registry_calls.log_in(client, document, self._answer_s),
            )
        except registry_calls.Silence as silence:
            return self._unanswered(silence)
        except EngineError as error:
            found = _read(error.code, error.why or "", registry.host, registry)
            if found.obstacle is Obstacle.REFUSED:
                return replace(found, answer=Answer.NO)
            return Found(Answer.UNKNOWN, found.obstacle or Obstacle.FAILING, found.why)
        return None

    def _moved(self, name: str, login: Registry | None, move: Move) -> Found | None:
        """Let the engine move an image; return what kept it from that, ``None``: nothing.

        It says HTTP 200 before it begins: what goes wrong stands among the lines of its progress.
        """

        def work(client: APIClient) -> str | None:
            said = None
            for line in move(client, _credentials(login)):
                detail = line.get("errorDetail") or {}
                said = line.get("error") or detail.get("message") or said
            return None if said is None else str(said)

        try:
            said, code = self._engine.call(f"the image {name}", work), 0
        except EngineError as error:
            said, code = error.why or "", error.code
        except registry_calls.Silence as silence:
            return self._unanswered(silence)
        return None if said is None else _read(code, said, name, login)

    def _unanswered(self, silence: registry_calls.Silence) -> Found:
        """Return that a registry is silent; raises :class:`TargetUnreachableError` where the engine itself is."""
        self._engine.call("a sign of life", lambda client: client.ping())
        return Found(Answer.UNKNOWN, Obstacle.UNREACHABLE, f"The registry gave the engine {silence}")


def own_login(image: Mapping[str, Any] | None, secrets: Mapping[str, str]) -> Registry | None:
    """Return the registry of a plan's image with its login, see ``environments/image.py``; ``None``: it names none.

    :param secrets: the request's ``secret_environment``.
    """
    named = (image or {}).get("registry")
    if not named:
        return None
    password = secrets.get(named["secret"]) if named.get("secret") else None
    return Registry(str(named["address"]), named.get("username"), password)


def split(name: str) -> tuple[str, str]:
    """Return repository and tag, or digest, of an image's name."""
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(name)
    return repository, tag or "latest"


def host_of(name: str) -> str:
    """Return the registry that an image's name leads to, as :class:`Registry` calls it."""
    first, slash, _ = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost") or first in _HUB_NAMES:
        return DOCKER_HUB
    return first


def _credentials(login: Registry | None) -> dict[str, str]:
    """Return them as the engine's API has them; empty: none."""
    return {} if login is None else {"username": login.username or "", "password": login.password or ""}


def _read(code: int, said: str, name: str, login: Registry | None) -> Found:
    return read_error(code, said, name, None if login is None else login.password)
