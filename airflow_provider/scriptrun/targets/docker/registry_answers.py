"""What a registry said, as an engine passes it on: an image is there, it is not, or nobody can tell. Pure functions."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import TargetError, TargetRefusedError, TargetUnreachableError

if TYPE_CHECKING:
    from airflow_provider.scriptrun.targets.docker.images import Image


class Answer(enum.Enum):
    """Of a question to a registry."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"  #: could not be told; an :class:`Obstacle` says why


class Obstacle(enum.Enum):
    """Why a registry gives no answer."""

    UNREACHABLE = "unreachable"  #: nobody answers the engine at its address
    TLS = "tls"  #: its certificate, or that it has none, keeps the engine away
    REFUSED = "refused"  #: it does not let this login, or nobody without one, at this image
    FAILING = "failing"  #: it answers an error of its own, or what no registry says


@dataclass(frozen=True)
class Found:
    """An answer about one image.

    :param obstacle: with :attr:`Answer.UNKNOWN`, and where a registry says no to us.
    :param why: the engine's words for it, without secrets; empty with :attr:`Answer.YES`.
    :param digest: by which the registry has it, where it said so.
    :param image: with what was fetched: it is on the engine now.
    """

    answer: Answer
    obstacle: Obstacle | None = None
    why: str = ""
    digest: str | None = None
    image: Image | None = None

    @property
    def advice(self) -> str:
        """What to do about an answer that is not yes."""
        return _ADVICE[self.obstacle]

    def error(self, what: str) -> TargetError:
        """Return the error that a person is told; a later try may go through where nobody answered."""
        kind = TargetUnreachableError if self.obstacle is Obstacle.UNREACHABLE else TargetRefusedError
        return kind(what, why=self.why, advice=self.advice)


_ADVICE = {
    None: "Is the name right, with its tag, and is there an image for this platform?",
    Obstacle.UNREACHABLE: "Does the registry run, and does the engine's machine reach it, through a proxy if need be?",
    Obstacle.TLS: "Put the registry's authority at /etc/docker/certs.d/<registry>/ca.crt on the engine's machine; one "
    "without TLS has to stand among the engine's insecure-registries.",
    Obstacle.REFUSED: "Is the name right, with its tag, and do the connection, or the environment's "
    "docker.base_image_registry, have a login to this registry that may do this?",
    Obstacle.FAILING: "Is this the address of a registry? Its own log says more.",
}
#: In the order in which they are looked for: what could not be reached did not say anything else. The words are
#: those of Go's network library, of the registry's protocol (OCI distribution, "Error Codes"), and of the engine.
_SIGNS = (
    (
        Obstacle.UNREACHABLE,
        r"dial (tcp|unix)|connection refused|connection reset|no such host|no route to host|network is unreachable"
        r"|i/o timeout|handshake timeout|deadline exceeded|client\.timeout|\beof$|proxyconnect|server misbehaving",
    ),
    (Obstacle.TLS, r"x509: |\btls: |remote error: tls|http response to https client|certificate"),
    (
        Obstacle.REFUSED,
        r"unauthorized|no basic auth credentials|authentication required|\bdenied\b|may require|insufficient_scope"
        r"|authorization failed|incorrect username|forbidden|\b40[13]\b",
    ),
)
_ABSENT = r"manifest unknown|name unknown|not known to registry|not found: manifest|: not found$"
_NOT_FOUND = 404
_MAX_CHARACTERS = 2000


def read_error(code: int, said: str, name: str, secret: str | None = None) -> Found:
    """Return what an engine's error says of an image, or of a registry.

    :param code: the HTTP status of the engine's answer; 0: none, the error stood among lines of progress.
    :param name: of the image or registry, whose words mean nothing.
    :param secret: what is not to be shown.
    """
    said = said.strip()
    why = (said.replace(secret, "***") if secret else said)[:_MAX_CHARACTERS]
    words = _without(said, name)
    for obstacle, sign in _SIGNS:
        if re.search(sign, words):
            return Found(Answer.UNKNOWN, obstacle, why)
    if code == _NOT_FOUND or re.search(_ABSENT, words):
        return Found(Answer.NO, None, why)
    return Found(Answer.UNKNOWN, Obstacle.FAILING, why)


def _without(said: str, name: str) -> str:
    """Return the words without names and addresses, in which anything may stand."""
    words = re.sub(r'"?https?://[^\s"]*"?', "", said)
    repository = re.sub(r"(:[\w.-]+)?(@[\w:]+)?$", "", name)
    for known in sorted({name, repository, repository.partition("/")[2]} - {""}, key=len, reverse=True):
        words = words.replace(known, "")
    return words.lower()
