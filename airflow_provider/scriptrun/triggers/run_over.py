"""Waits in the triggerer for the end of one run, and shows its log meanwhile.

All runs on a host share one thread, one connection and one question; a trigger is one of their readers.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider.scriptrun.errors import ScriptRunError, TargetError
from airflow_provider.scriptrun.hooks.surroundings import AirflowSurroundings
from airflow_provider.scriptrun.operators import killing
from airflow_provider.scriptrun.operators.task_log import TaskLog
from airflow_provider.scriptrun.runs.host_watches import shared
from airflow_provider.scriptrun.runs.poller import is_not_started
from airflow_provider.scriptrun.runs.reach import Trouble
from airflow_provider.scriptrun.runs.run_view import RunView
from airflow_provider.scriptrun.runs.trail import Trail
from airflow_provider.scriptrun.runs.workspace import Workspace
from airflow_provider.scriptrun.supervisor.protocol.status import Reason
from airflow_provider.scriptrun.targets.contract import Cursor, Handle, News, Stream
from airflow_provider.scriptrun.targets.registry import open_handle
from airflow_provider.scriptrun.triggers import allowance
from airflow_provider.scriptrun.triggers.mailbox import Mailbox
from airflow_provider.scriptrun.triggers.wait import DEADLINE, NOT_STARTED, OVER, SETTLE_SECONDS, TROUBLE, Wait

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider.scriptrun.runs.host_watch import Subscription

    _Heard = News | Trouble | Exception

#: How often a trigger comes up without news: for its deadline, for progress bars, to store how far it has come.
LOOK_SECONDS = 10.0
#: More text than this is turned into lines in another thread: 1,000 other triggers share the event loop.
INLINE_BYTES = 16 * 1024
#: A trigger that has more to show than it may shows nothing for so long; it hears of the run's end all the same.
CATCH_UP_SECONDS = 2.0
#: A target that has never answered a triggerer, though it answered the worker, may be out of its reach for ever (an
#: engine behind the socket of the worker's host, a firewall): after so long the worker watches again.
UNREACHED_SECONDS = 60.0
#: Airflow grants on_kill 30 s. Asking for a cancel takes milliseconds, the supervisor does the rest.
KILL_WAIT_SECONDS = 1.0


class ScriptRunTrigger(BaseTrigger):
    """Fires once: with the run's id, why (it is over, the deadline passed, ...), and how far its log was shown.

    What was shown stands in the run's folder of the workspace, where the triggerer can reach it, so that another
    triggerer goes on there. What a script prints last comes with the news of its end, and is the worker's to show: a
    triggerer closes the log of a trigger that has fired, and drops the lines that are still on their way there. So is
    what a script prints faster than all scripts together may in a triggerer (``allowance``): shown later, none lost.

    :param wait: see :class:`Wait`; unknown fields are a later release's, and are ignored.
    """

    def __init__(self, wait: dict[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        known = {name: wait[name] for name in Wait.__dataclass_fields__ if name in wait}
        self.wait = Wait(**known)
        self._subscription: Subscription | None = None
        self._view: RunView | None = None
        self._is_over = False
        self._was_reached = False  #: the target by a triggerer
        self._loop: asyncio.AbstractEventLoop
        self._mailbox: Mailbox[_Heard]
        self._catch_up_at: float | None = None  #: when to ask for the log again, by the monotonic clock

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another process makes this trigger from."""
        return f"{type(self).__module__}.{type(self).__name__}", {"wait": asdict(self.wait)}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Follow the run, and yield the one event."""
        why = await self._follow()
        await asyncio.sleep(min(self.wait.not_before - time.time(), SETTLE_SECONDS))  # clocks differ between hosts
        cursor = self.wait.cursor if self._view is None else self._view.shown.document()
        event = {"run_id": self.wait.handle["run_id"], "why": why, "cursor": cursor}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def cleanup(self) -> None:
        """Let go of the shared watch. The run does not notice."""
        self._is_over = True
        if self._subscription is not None:
            self._subscription.stop()

    async def on_kill(self) -> None:
        """Cancel the run of a task that a person ended. Airflow also calls this when it moved the trigger elsewhere."""
        # In one thread to its end: where Airflow gives up on us (``[triggerer] on_kill_timeout``), that thread goes on.
        # The first question that a triggerer passes on can take that long: it makes an API server of its own for it.
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        if killing.ask(self.task_instance) is not killing.Verdict.CANCEL:
            self.log.info("This trigger was stopped, the task was not ended: its run goes on.")
            return
        self.log.warning("The task was ended; its run is cancelled.")
        with contextlib.suppress(TargetError):  # a lease ends what cannot be reached
            self._cancel()

    def _cancel(self) -> None:
        handle = Handle.from_document(self.wait.handle)
        with open_handle(handle, AirflowSurroundings()) as target:
            target.cancel(handle.run_id, lineage=handle.lineage, reason=Reason.CANCELED, wait_s=KILL_WAIT_SECONDS)

    async def _follow(self) -> str:
        """Return why the trigger fires."""
        self._loop = asyncio.get_running_loop()
        try:
            view = await self._opened()
            return DEADLINE if view is None else await self._listen(view)
        except ScriptRunError as error:
            self.log.warning("%s The task asks the target itself.", error)
            return TROUBLE

    async def _opened(self) -> RunView | None:
        """Return what shows the run; ``None`` where the deadline passed before that could be made."""
        opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        try:
            return await asyncio.wait_for(asyncio.shield(opening), self._seconds_left())
        except asyncio.TimeoutError:  # another class than TimeoutError before Python 3.11
            if opening.done():
                raise
            return None

    def _open(self) -> RunView:
        """Begin to follow. It asks Airflow, which can take a minute in a triggerer; the trigger may be over by then."""
        self._view = view = self._open_view()
        self._subscribe(view.cursor)
        return view

    def _subscribe(self, cursor: Cursor) -> None:
        """Hear of the run from ``cursor`` on, and of nothing that was heard before and not dealt with."""
        mailbox: Mailbox[_Heard] = Mailbox(self._loop)
        former = self._subscription
        handle = Handle.from_document(self.wait.handle)
        self._subscription = subscription = shared.follow(handle, cursor, mailbox.put, AirflowSurroundings())
        self._mailbox = mailbox
        if former is not None:
            former.stop()
        if self._is_over:  # one that is left behind would renew the run's lease
            subscription.stop()

    def _seconds_left(self) -> float | None:
        return None if self.wait.deadline is None else max(0.0, self.wait.deadline - time.time())

    def _open_view(self) -> RunView:
        """Look up secrets, and how far another triggerer has come. Asks Airflow and the workspace: not in the loop."""
        surroundings = AirflowSurroundings()
        for reference in self.wait.secrets:
            surroundings.secret(reference)  # from now on the masker knows it
        cursor = Cursor.from_document(self.wait.cursor)
        options = surroundings.settings.storage_options
        trail = Trail(Workspace(self.wait.workspace, storage_options=options).objects, self.wait.folder)
        furthest = trail.furthest(cursor)
        self._was_reached = furthest != cursor
        return RunView(
            cursor=furthest,
            reporter=TaskLog(self.log),
            log_name=self.wait.log_uri,
            log_cap_bytes=surroundings.settings.task_log_cap_bytes,
            orphan_after_s=self.wait.orphan_after_s,
            grace_s=self.wait.grace_s,
            save=trail.leave,
        )

    async def _listen(self, view: RunView) -> str:
        is_log_left_out = False
        while True:
            if why := await self._hear(view, await self._next()):  # what it was is not kept while this waits
                return why
            view.tick()
            if view.is_due:
                await asyncio.to_thread(view.store)
            if self.wait.deadline is not None and time.time() >= self.wait.deadline:
                return DEADLINE
            if view.is_log_capped and not is_log_left_out:
                is_log_left_out = True
                self._subscription.leave_out(Stream.RUN_LOG)  # type: ignore[union-attr]
            if self._catch_up_at is not None and time.monotonic() >= self._catch_up_at:
                self._catch_up_at = None
                if not is_log_left_out:
                    await asyncio.to_thread(self._subscribe, view.cursor)

    async def _hear(self, view: RunView, what: _Heard | None) -> str | None:
        """Deal with one piece of news; return why the trigger fires, if it does."""
        if isinstance(what, Trouble):
            self._was_reached |= what.has_answered
            if not self._was_reached and time.monotonic() - what.reached_at >= UNREACHED_SECONDS:
                self.log.warning("%s It has never answered this triggerer, so the worker watches again.", what.error)
                return TROUBLE
            view.struggle(what)
        elif isinstance(what, News):
            self._was_reached = True
            if what.status is not None and what.status.status.is_terminal:
                return OVER
            await self._take(view, what)
            if is_not_started(what):
                return NOT_STARTED
        elif what is not None:
            raise what if isinstance(what, ScriptRunError) else TargetError("The watch failed", why=repr(what))
        return None

    async def _take(self, view: RunView, news: News) -> None:
        """Show what is new, as far as the triggerer's share of log lines goes; the rest is asked for again later."""
        allowed = _allowed(news)
        await _in_thread_if(_is_large(allowed), view.take, allowed)
        if allowed is news:
            self._subscription.taken()  # type: ignore[union-attr]
            return
        self._catch_up_at = time.monotonic() + CATCH_UP_SECONDS
        offsets: dict[Stream, int] = {
            stream: offset for stream, offset in view.cursor.offsets.items() if stream is not Stream.RUN_LOG
        }
        await asyncio.to_thread(self._subscribe, replace(view.cursor, offsets=offsets))

    async def _next(self) -> _Heard | None:
        limits = [LOOK_SECONDS, self._seconds_left()]
        if self._catch_up_at is not None:
            limits.append(max(0.0, self._catch_up_at - time.monotonic()))
        return await self._mailbox.get(min(limit for limit in limits if limit is not None))


def _allowed(news: News) -> News:
    """Return the news with as much of the log as may be shown now; the news themselves where that is all of it."""
    parts = tuple(
        replace(part, data=part.data[: allowance.shared.take(part.data)]) if part.stream is Stream.RUN_LOG else part
        for part in news.parts
    )
    return (
        news
        if all(len(one.data) == len(other.data) for one, other in zip(parts, news.parts, strict=True))
        else (replace(news, parts=parts))
    )


def _is_large(news: News) -> bool:
    return sum(len(part.data) for part in news.parts) > INLINE_BYTES


async def _in_thread_if(is_long: bool, call: Any, *arguments: Any) -> None:
    if is_long:
        await asyncio.to_thread(call, *arguments)
    else:
        call(*arguments)
