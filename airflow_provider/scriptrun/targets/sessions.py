"""The sessions with one host: opened when needed, kept for the next request, held to the host that it must be."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider.scriptrun.errors import OtherHostError, ProtocolError, TargetUnreachableError
from airflow_provider.scriptrun.supervisor.protocol import PROTOCOL_VERSION
from airflow_provider.scriptrun.targets import parse
from airflow_provider.scriptrun.targets.archive import supervisor_archive
from airflow_provider.scriptrun.targets.install import PYTHON_OPTIONS, install
from airflow_provider.scriptrun.targets.session import NoSupervisorError, Session, SessionBrokenError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider.scriptrun.targets.status import TargetFacts
    from airflow_provider.scriptrun.targets.transports.base import Transport

#: Kept for the next request: a poll that waits, and what is asked beside it.
IDLE_SESSIONS = 2
#: Numbers of the protocol that this release speaks.
PROTOCOLS = frozenset({PROTOCOL_VERSION})

Answer = TypeVar("Answer")


class Sessions:
    """Opens sessions over a transport, and installs the supervisor where none answers. Safe for several threads.

    :param name: of the target, for messages.
    :param root: where everything is kept on the host; ``~/`` is the user's home folder.
    :param interpreter: the Python that runs the supervisor.
    :param host_id: of the host that it must be; ``None``: whichever answers.
    :param version: a supervisor to prefer where it is still installed; ``None``: the one of this release.
    """

    def __init__(
        self, transport: Transport, name: str, root: str, interpreter: str, host_id: str | None, version: str | None
    ) -> None:
        self.transport = transport
        self._name, self._root, self._interpreter = name, root, interpreter
        self._host_id, self._version = host_id, version
        self._lock = threading.Lock()
        self._idle: list[Session] = []
        self._busy: set[Session] = set()
        self._closed = False

    def request(self, work: Callable[[Session], Answer]) -> Answer:
        """Return ``work(session)``, a request and its whole answer.

        It may be called a second time, in another session, when the first one broke: requests are idempotent.
        Raises what ``work`` raises, :class:`OtherHostError`, :class:`TargetUnreachableError`,
        :class:`TargetRefusedError`.
        """
        session, answer = self.begin(work)
        self.release(session)
        return answer

    def begin(self, work: Callable[[Session], Answer]) -> tuple[Session, Answer]:
        """The same for the beginning of an answer: return the session too, for :meth:`release` after the rest."""
        remedies = iter(("keep", "replace"))
        repeated = False
        while True:
            session = self._acquire()
            try:
                self._verify_host(session)
                return session, work(session)
            except NoSupervisorError as error:
                self.release(session)
                self._remedy(next(remedies, None), error)
            except SessionBrokenError:
                self.release(session)
                if repeated or self._closed:
                    raise
                repeated = True
            except BaseException:
                self.release(session)
                raise

    def release(self, session: Session) -> None:
        """Keep a session for the next request, or close it when it is in the middle of something."""
        with self._lock:
            self._busy.discard(session)
            keep = session.is_reusable and not self._closed and len(self._idle) < IDLE_SESSIONS
            if keep:
                self._idle.append(session)
        if not keep:
            session.close()

    def close(self) -> None:
        """End all sessions, those that other threads use too, and the transport. Safe to call twice."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for session in self._busy:
                session.terminate()
        for session in idle:
            session.close()
        self.transport.close()

    def hello(self, session: Session) -> TargetFacts:
        """Ask who is there. Raises :class:`ProtocolError` for a supervisor that speaks another protocol."""
        facts = parse.target_facts(session.ask({"op": "hello"}))
        if facts.protocol not in PROTOCOLS:
            raise ProtocolError(
                f"The supervisor {facts.supervisor} on {self.transport.name} speaks protocol {facts.protocol}",
                why=f"this release speaks {', '.join(map(str, sorted(PROTOCOLS)))}",
            )
        return facts

    def _acquire(self) -> Session:
        with self._lock:
            if self._closed:
                raise TargetUnreachableError(f"The target {self._name} was closed")
            while self._idle:
                session = self._idle.pop()
                if session.is_ours:
                    self._busy.add(session)
                    return session
        session = Session(self.transport.open(self._command()), self.transport.name)
        with self._lock:
            self._busy.add(session)
            if self._closed:
                session.terminate()
        return session

    def _command(self) -> list[str]:
        root = self._root
        if root.startswith("~/"):
            root = root[2:]  # no shell expands it: a transport starts commands in the home folder
        folder = f"{root}/supervisor/{self._version or supervisor_archive().version}"
        return [self._interpreter, *PYTHON_OPTIONS, folder, "serve", "--root", self._root]

    def _remedy(self, remedy: str | None, error: NoSupervisorError) -> None:
        """Do what may help when none answered: install ours, then install it anew. Raises ``error`` after that."""
        if remedy is None or self._closed:
            raise error
        ours = supervisor_archive()
        self._version = None  # whichever was preferred is not there any more: ours reads what it wrote
        install(self.transport, self._interpreter, self._root, ours, replace=remedy == "replace")

    def _verify_host(self, session: Session) -> None:
        """A new session to a host that must be a certain one asks first, so that nothing happens on another."""
        if self._host_id is None or session.answered:
            return
        there = self.hello(session).host
        if there.id != self._host_id:
            session.broken = True  # the next request must ask again
            raise OtherHostError(
                f"The connection {self._name} leads to another host than before: {there.name or there.id}",
                why=f"its machine id is {there.id}, and the run is on {self._host_id}",
                advice="Was the connection edited, or the machine replaced? Clear the task to start there anew.",
            )


def is_spoken(protocol: Any) -> bool:
    """Whether this release speaks a protocol of this number."""
    return protocol in PROTOCOLS
