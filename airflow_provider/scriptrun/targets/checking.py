"""The ``check`` of a host: asked, timed, read, judged."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.targets import parse
from airflow_provider.scriptrun.targets.findings import Details, DiskFacts, LoginFacts, MountFacts
from airflow_provider.scriptrun.targets.judging import judge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider.scriptrun.targets.lending import Program
    from airflow_provider.scriptrun.targets.parse import Fields
    from airflow_provider.scriptrun.targets.session import Session
    from airflow_provider.scriptrun.targets.status import TargetFacts

#: Programs that hang are given up after a few seconds; a slow file system may take longer.
CHECK_PATIENCE_S = 30.0
_MAX_ITEMS = 1000


def check(session: Session, lent: Mapping[str, Program]) -> TargetFacts:
    """Ask a host for all that it can say of itself, and judge it. Raises what a request raises.

    :param lent: programs that it could borrow.
    """
    asked_at = time.time()
    document = session.ask({"op": "check"}, wait_s=CHECK_PATIENCE_S)
    answered_at = time.time()
    facts = parse.target_facts(document)
    fields = parse.Fields(document, "what a check found")
    if not fields.has("details"):
        return facts
    details = read_details(fields.inner("details"), asked_at, answered_at)
    more = fields.inner("details").inner("programs").inner("more")
    tools = {**facts.tools, **{name: more.text(name, parse.MAX_PATH_CHARACTERS) for name in list(more.document)[:100]}}
    facts = replace(facts, tools=tools, details=details)
    uv = lent.get("uv")
    can_borrow = uv is not None and uv.runs_on(facts.system, facts.machine, facts.libc)
    return replace(facts, warnings=judge(facts, details, uv_can_be_sent=can_borrow))


def clock_ahead(asked_at: float, came_at: float, answered_at: float, read_at: float) -> float:
    """Return how far another clock is ahead, in seconds, from when a request and its answer left and came.

    The first and the last by our clock, the others by theirs; as if both ways took the same time (NTP, RFC 5905). What
    was done between does not count. The error is at most half of the time on the way.
    """
    return ((came_at - asked_at) + (answered_at - read_at)) / 2


def read_details(fields: Fields, asked_at: float, read_at: float) -> Details:
    """Read ``details`` of the answer to a ``check``. Raises :class:`ProtocolError`."""
    machine, programs, clock = fields.inner("machine"), fields.inner("programs"), fields.inner("clock")
    disk, login, versions = fields.inner("disk"), fields.inner("login"), programs.inner("versions")
    return Details(
        os=machine.optional_text("os"),
        kernel=machine.optional_text("kernel"),
        cpus=machine.optional_integer("cpus"),
        memory_bytes=machine.optional_integer("memory_bytes"),
        gpus=machine.texts("gpus", _MAX_ITEMS),
        clock_ahead_s=clock_ahead(asked_at, clock.number("came_at"), clock.number("answered_at"), read_at),
        disk=DiskFacts(*(disk.integer(name) for name in ("bytes", "free_bytes", "inodes", "free_inodes"))),
        login=LoginFacts(*(login.flag(name) for name in ("in_session", "kills", "lingers"))),
        locale=fields.text("locale"),
        venv=programs.flag("venv"),
        ensurepip=programs.flag("ensurepip"),
        mounts=_mounts(fields.inner("mounts")),
        versions={name[:100]: versions.text(name) for name in list(versions.document)[:100] if versions.has(name)},
    )


def _mounts(fields: Fields) -> dict[str, MountFacts]:
    found = {}
    for name in ("root", "home", "temporary"):
        if fields.has(name):
            mount = fields.inner(name)
            found[name] = MountFacts(
                folder=mount.text("folder", parse.MAX_PATH_CHARACTERS),
                path=mount.text("path", parse.MAX_PATH_CHARACTERS),
                type=mount.text("type"),
                options=mount.texts("options", _MAX_ITEMS),
            )
    return found
