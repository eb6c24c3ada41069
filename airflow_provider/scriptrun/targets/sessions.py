"""The sessions with one host: opened when needed, kept for the next request, held to the host that it must be."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider.scriptrun.errors import OtherHostError, ProtocolError, TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.supervisor.protocol import PROTOCOL_VERSION
from airflow_provider.scriptrun.targets import parse
from airflow_provider.scriptrun.targets.archive import supervisor_archive
from airflow_provider.scriptrun.targets.install import PYTHON_OPTIONS, install
from airflow_provider.scriptrun.targets.session import SHELL_ADVICE, NoSupervisorError, Session, SessionBrokenError

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
    :param found_interpreter: where ``interpreter`` was found before: used in its place while it works.
    """

    def __init__(
        self,
        transport: Transport,
        name: str,
        root: str,
        interpreter: str,
        host_id: str | None,
        version: str | None,
        *,
        found_interpreter: str | None = None,
    ) -> None:
        self.transport = transport
        self._name, self._root, self._named_interpreter = name, root, interpreter
        self._interpreter = found_interpreter or interpreter
        self._host_id, self._version = host_id, version
        self._lock = threading.Lock()
        self._idle: list[Session] = []
        self._busy: set[Session] = set()
        self._closed = False

    def expects(self, host_id: str) -> bool:
        """Whether a host of this id is, as far as is known, the one that it must be."""
        return self._host_id in (None, host_id)

    def expect(self, host_id: str | None) -> None:
        """Hold every request from now on to the host of this id; ``None``: to none."""
        self._host_id = host_id

    def warm(self) -> None:
        """Have a session ready for the next request: the connection is made, and the supervisor is starting."""
        self.release(self._acquire())

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
                return session, work(session)
            except parse.ElsewhereError as error:
                self.release(session)
                raise self._elsewhere(error) from None
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
        return self.understood(parse.target_facts(session.ask({"op": "hello"})))

    def understood(self, facts: TargetFacts) -> TargetFacts:
        """Return ``facts``; raise :class:`ProtocolError` for a supervisor that speaks another protocol."""
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
                    session.host_id = self._host_id  # another one may be expected by now
                    self._busy.add(session)
                    return session
        session = Session(self.transport.open(self._command()), self.transport.name, self._host_id)
        with self._lock:
            self._busy.add(session)
            if self._closed:
                session.terminate()
        return session

    def _command(self) -> list[str]:
        folder = f"{self._root}/supervisor/{self._version or supervisor_archive().version}"
        return [self._interpreter, *PYTHON_OPTIONS, folder, "serve", "--root", self._root]

    def _remedy(self, remedy: str | None, error: NoSupervisorError) -> None:
        """Do what may help when none answered: install ours, then install it anew. Raises an error after that."""
        if self._closed or (remedy is None and error.exit_code is None):
            raise error
        if remedy is None:
            raise TargetRefusedError(
                f"The supervisor was installed on {self.transport.name}, and does not start",
                why=" ".join(filter(None, (f"The command ended with code {error.exit_code}.", error.why))),
                advice=f"Is {self._interpreter} there a working Python? {SHELL_ADVICE}",
            )
        ours = supervisor_archive()
        self._interpreter = self._named_interpreter  # it may have been found elsewhere before
        self._version = None  # whichever was preferred is not there any more: ours reads what it wrote
        install(self.transport, self._interpreter, self._root, ours, replace=remedy == "replace")

    def _elsewhere(self, error: parse.ElsewhereError) -> OtherHostError:
        return OtherHostError(
            f"The connection {self._name} leads to another host than before",
            why=error.why,
            advice="Was the connection edited, or the machine replaced? Clear the task to start there anew.",
        )


def is_spoken(protocol: Any) -> bool:
    """Whether this release speaks a protocol of this number."""
    return protocol in PROTOCOLS
