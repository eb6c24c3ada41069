"""A target that is a Linux host: every verb is one request to the supervisor there, whatever the way to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import ProtocolError
from airflow_provider.scriptrun.supervisor.protocol import PROTOCOL_VERSION
from airflow_provider.scriptrun.supervisor.protocol.status import Reason
from airflow_provider.scriptrun.targets import parse
from airflow_provider.scriptrun.targets.archive import supervisor_archive
from airflow_provider.scriptrun.targets.contract import (
    DEFAULT_CANCEL_WAIT_S,
    DEFAULT_POLL_BYTES,
    DEFAULT_POLL_WAIT_S,
    ComputeTarget,
)
from airflow_provider.scriptrun.targets.exchange import ask_news, end_of_files, fetched_file, next_file
from airflow_provider.scriptrun.targets.handle import Handle
from airflow_provider.scriptrun.targets.lending import Lending
from airflow_provider.scriptrun.targets.news import Listing
from airflow_provider.scriptrun.targets.sending import Sending
from airflow_provider.scriptrun.targets.sessions import Sessions
from airflow_provider.scriptrun.targets.starting import Starting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from airflow_provider.scriptrun.targets.news import Cursor, FetchedFile, News, RemoteFile
    from airflow_provider.scriptrun.targets.remembered import RememberedHost
    from airflow_provider.scriptrun.targets.request import (
        Limits,
        Progress,
        Sent,
        SnapshotSource,
        Started,
        StartRequest,
    )
    from airflow_provider.scriptrun.targets.session import Session
    from airflow_provider.scriptrun.targets.status import HostFacts, RunStatus, TargetFacts
    from airflow_provider.scriptrun.targets.transports.base import Transport
    from airflow_provider.scriptrun.targets.wake import Wake

#: Removing many files takes its time.
CLEANING_PATIENCE_S = 600.0


class HostTarget(ComputeTarget):
    """A Linux host with Python 3.8 or later, reached over a transport.

    :param name: the Airflow connection id that names it, or ``local``.
    :param root: the folder under which everything is kept there; ``~/`` is the user's home folder.
    :param interpreter: the Python that runs the supervisor.
    :param remembered: what earlier targets on this worker have learned of the host, its Python among it: used while it
        holds. ``None``: nothing is, and it is asked each time.
    :param tools: programs to offer to the environment builder: name -> absolute path on the host. Without any, ours
        are lent where the host has none.
    :param variables: for every script that runs there; a request's own win.
    :param max_runs: how many runs are to execute there at once; ``None``: no limit of the target's own.
    :param host_id: of the host that it must be; ``None``: whichever answers.
    :param version: a supervisor version to prefer where it is still installed: the one that started the run.
    """

    target_type = "host"

    def __init__(
        self,
        transport: Transport,
        *,
        name: str,
        root: str,
        interpreter: str = "python3",
        remembered: RememberedHost | None = None,
        tools: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        max_runs: int | None = None,
        host_id: str | None = None,
        version: str | None = None,
    ) -> None:
        self.name, self.root, self.max_runs = name, root, max_runs
        self._transport, self._tools, self.variables = transport, dict(tools or {}), dict(variables or {})
        self._host_id = host_id or ""
        self._lending = Lending(transport.name)
        self._remembered = remembered
        known = remembered.load() if remembered is not None else None
        found = known.interpreter if known is not None else None
        self._sessions = Sessions(transport, name, root, interpreter, host_id or None, version, found_interpreter=found)

    # The verbs

    def check(self) -> TargetFacts:
        """See :meth:`ComputeTarget.check`."""
        from airflow_provider.scriptrun.targets.checking import check

        programs = self._lending.programs
        facts = self._sessions.request(lambda session: self._sessions.understood(check(session, programs)))
        self._learn(facts)
        return facts

    def host(self, *, anew: bool = False) -> HostFacts:
        """See :meth:`ComputeTarget.host`. The connection is made, and the supervisor started, in any case."""
        known = None if anew or self._remembered is None else self._remembered.load()
        if known is not None and self._sessions.expects(known.host.id):
            self._sessions.expect(known.host.id)
            self._sessions.warm()
            self._host_id = known.host.id
            return known.host
        if anew:
            self._sessions.expect(None)
        facts = self._sessions.request(self._sessions.hello)
        self._learn(facts)
        self._sessions.expect(facts.host.id)
        return facts.host

    def _learn(self, facts: TargetFacts) -> None:
        """Keep what a greeting said."""
        self._host_id = facts.host.id
        if self._remembered is not None:
            self._remembered.save(facts.host, facts.interpreter, self._notes())

    def _notes(self) -> dict[str, str]:
        """Return what else is to be remembered of the way to this host."""
        return {}

    def start(self, request: StartRequest) -> Started:
        """See :meth:`ComputeTarget.start`."""
        return self._started(self._sessions.request(self._starting(request)))

    def send(
        self,
        snapshot: SnapshotSource,
        *,
        base: bytes | None = None,
        progress: Progress | None = None,
        then: Callable[[Sent], StartRequest] | None = None,
    ) -> Sent:
        """See :meth:`ComputeTarget.send`."""
        start = None if then is None else lambda sent: self._starting(then(sent))
        sending = Sending(snapshot, self._transport.name, base=base, progress=progress, then=start)
        sent = self._sessions.request(sending)
        if sent.started is not None:
            self._started(sent.started)
        return sent

    def _starting(self, request: StartRequest) -> Starting:
        return Starting(request, self.variables, self._tools, self._lending)

    def _started(self, answer: Started) -> Started:
        if answer.status is not None and answer.status.host is not None:
            self._host_id = answer.status.host.id
        return answer

    def poll(
        self,
        cursors: Iterable[Cursor],
        *,
        wait_s: float = DEFAULT_POLL_WAIT_S,
        max_bytes: int = DEFAULT_POLL_BYTES,
        wake: Wake | None = None,
    ) -> list[News]:
        """See :meth:`ComputeTarget.poll`."""
        asked = {cursor.run_id: cursor for cursor in cursors}
        if not asked:
            return []
        request = {
            "op": "poll",
            "runs": [
                {"id": c.run_id, "seen": c.seen, "streams": {s.value: offset for s, offset in c.offsets.items()}}
                for c in asked.values()
            ],
            "wait_s": wait_s,
            "max_bytes": max_bytes,
        }
        news = self._sessions.request(lambda session: ask_news(session, request, asked, wait_s, max_bytes, wake))
        self._seen({one.run_id: one.status for one in news})
        return news

    def cancel(
        self,
        run_id: str,
        *,
        lineage: str | None = None,
        reason: Reason = Reason.CANCELED,
        wait_s: float = DEFAULT_CANCEL_WAIT_S,
    ) -> RunStatus:
        """See :meth:`ComputeTarget.cancel`."""
        request = {"op": "cancel", "run": run_id, "lineage": lineage, "reason": reason.value, "wait_s": wait_s}

        def ask(session: Session) -> RunStatus:
            return parse.run_status(session.ask(request, wait_s=wait_s).get("status"), run_id)

        status = self._sessions.request(ask)
        self._seen({run_id: status})
        return status

    def _seen(self, statuses: Mapping[str, RunStatus | None]) -> None:
        """Take note of what a poll or a cancel has said of runs."""

    def files(self, run_id: str, *, hashed: bool = True) -> Listing:
        """See :meth:`ComputeTarget.files`."""
        request = {"op": "list", "run": run_id, "hash": hashed}

        def ask(session: Session) -> Listing:
            session.put(request)
            found: list[RemoteFile] = []
            while True:
                answer = session.answer()  # while it hashes, a frame comes every ten seconds
                files, more = parse.remote_files(answer, run_id)
                found += files
                if len(found) > parse.MAX_FILES:
                    raise ProtocolError(f"{self._transport.name} lists more than {parse.MAX_FILES} files of {run_id}")
                if not more:
                    session.done()
                    return Listing(tuple(found), *parse.skipped_files(answer, run_id))

        return self._sessions.request(ask)

    def fetch(self, run_id: str, paths: Iterable[str | tuple[str, int]]) -> Iterator[FetchedFile]:
        """See :meth:`ComputeTarget.fetch`."""
        wanted = [(path, 0) if isinstance(path, str) else path for path in paths]
        if not wanted:
            return
        items = [{"path": path, "offset": offset} if offset else path for path, offset in wanted]
        request = {"op": "fetch", "run": run_id, "paths": items}

        def begin(session: Session) -> dict[str, Any]:
            session.put(request)
            return next_file(session)

        session, head = self._sessions.begin(begin)
        try:
            for path, offset in wanted:
                file = fetched_file(session, head, path, offset)
                yield file
                for _ in file.chunks:
                    pass  # whoever asked had enough; the next file stands behind it
                head = next_file(session)
            end_of_files(session, head)
        finally:
            self._sessions.release(session)

    def collected(self, run_id: str) -> None:
        """See :meth:`ComputeTarget.collected`."""
        self._sessions.request(
            lambda session: session.ask({"op": "fetch", "run": run_id, "paths": [], "collected": True})
        )

    def status(self, run_ids: Iterable[str]) -> dict[str, RunStatus]:
        """See :meth:`ComputeTarget.status`."""
        wanted = list(run_ids)

        def ask(session: Session) -> dict[str, RunStatus]:
            runs = parse.Fields(session.ask({"op": "status", "runs": wanted}), "the status of runs").inner("runs")
            return {run: parse.run_status(runs.document[run], run) for run in wanted if runs.has(run)}

        return self._sessions.request(ask) if wanted else {}

    def clean(self, limits: Limits) -> Mapping[str, int]:
        """See :meth:`ComputeTarget.clean`."""
        environments = {"budget_bytes": limits.environment_budget_bytes, "budget_age_s": limits.environment_age_s}
        request = {
            "op": "clean",
            "budget_bytes": limits.budget_bytes,
            "budget_age_s": limits.budget_age_s,
            "environments": environments,
        }
        return self._sessions.request(lambda session: parse.counts(session.ask(request, wait_s=CLEANING_PATIENCE_S)))

    def handle(self, started: Started | str, lineage: str) -> Handle:
        """See :meth:`ComputeTarget.handle`."""
        run_id = started if isinstance(started, str) else started.run_id
        status = None if isinstance(started, str) else started.status
        version = status.supervisor if status is not None and status.supervisor else supervisor_archive().version
        return Handle(
            target=self.target_type,
            connection=self.name,
            host_id=self._host_id,
            root=self.root,
            run_id=run_id,
            lineage=lineage,
            supervisor=version,
            protocol=PROTOCOL_VERSION,
        )

    def host_id(self) -> str:
        """Return the id of the host, asking it if it has not said so yet."""
        return self._host_id or self.host().id

    def close(self) -> None:
        """See :meth:`ComputeTarget.close`."""
        self._sessions.close()
