"""A start as one request to a supervisor, and its answer: alone, or right behind the blobs that it needs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import ProtocolError, TargetRefusedError
from airflow_provider.scriptrun.targets import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider.scriptrun.targets.lending import Lending
    from airflow_provider.scriptrun.targets.request import Started, StartRequest
    from airflow_provider.scriptrun.targets.session import Session


class Starting:
    """One start.

    :param variables: of the target, for every script; the request's own win.
    :param tools: programs on the host for the environment builder: name -> absolute path.
    :param lending: lends ours where the host has none.
    """

    def __init__(
        self, request: StartRequest, variables: Mapping[str, str], tools: Mapping[str, str], lending: Lending
    ) -> None:
        self._request, self._variables, self._tools, self._lending = request, variables, tools, lending

    def __call__(self, session: Session) -> Started:
        """Ask, and return the answer."""
        self.put(session)
        return self.answer(session)

    def put(self, session: Session) -> None:
        """Send the request."""
        session.put(self._document())

    def answer(self, session: Session) -> Started:
        """Read the answer to what was ``put``; when it asks for programs, lend them first."""
        document = self._read(session)
        wanted = parse.wanted_tools(document, self._request.run_id)
        lent: tuple[str, ...] = ()
        if wanted:
            lent = self._lending.lend(session, wanted)
            if not parse.lacks_snapshots(document):
                self.put(session)
                document = self._read(session)
                if parse.wanted_tools(document, self._request.run_id):
                    raise TargetRefusedError(
                        f"The target asks for {', '.join(wanted)} again after it was sent",
                        advice="Is its disk full, or its root cleaned by something else?",
                    )
        document = self._carried_out(session, document)
        started = replace(parse.started(document, self._request.run_id), lent=lent)
        if started.base is not None and started.base not in self._request.bases:
            raise ProtocolError(f"The target speaks of the snapshot {started.base}, which nobody named")
        return started

    def _carried_out(self, session: Session, document: dict[str, Any]) -> dict[str, Any]:
        """Return the answer, once whatever it asks us to do for the run was done."""
        del session  # a host's supervisor has done all of it
        return document

    def _read(self, session: Session) -> dict[str, Any]:
        # A cleared run is seen dead first.
        document = session.answer(wait_s=2 * self._request.limits.grace_s)
        session.done()
        return document

    def _document(self) -> dict[str, Any]:
        request = self._request
        return {
            "op": "start",
            "run": {"id": request.run_id, "lineage": request.lineage, "experiment": request.experiment},
            "attempt": dict(request.attempt.__dict__),
            "snapshot": request.snapshot_id,
            "bases": list(request.bases),
            "inputs": {
                name: {"snapshot": one.snapshot_id, "file": one.is_file} for name, one in request.inputs.items()
            },
            "environment": dict(request.environment),
            "secret_environment": dict(request.secret_environment),
            "launch": {
                "argv": list(request.argv),
                "variables": {**self._variables, **request.variables},
                "secret_variables": dict(request.secret_variables),
                "inherit": list(request.inherit),
            },
            "limits": dict(request.limits.__dict__),
            "context": dict(request.context),
            "tools": dict(self._tools) or self._lending.offers(request.environment),
        }
