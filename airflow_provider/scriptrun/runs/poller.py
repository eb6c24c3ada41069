"""Asks a target for news of one run, in a thread of its own, so that the reader can look elsewhere meanwhile."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from queue import Empty, Queue
from typing import TYPE_CHECKING, Protocol

from airflow_provider.scriptrun.errors import TargetUnreachableError
from airflow_provider.scriptrun.runs.reach import Trouble, pauses
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets.contract import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider.scriptrun.targets.contract import ComputeTarget, Cursor, News

#: How often the reader comes up without news: to ask ``should_stop``, to look at progress bars.
LOOK_SECONDS = 0.5
#: Answers read ahead of what is shown: with 4 MB each, what a fast log holds in memory.
ANSWERS_AHEAD = 2


class Source(Protocol):
    """Where the news of one run come from: a :class:`Poller`, or a part of what is asked for many."""

    def answers(self) -> Iterator[News | Trouble | None]:
        """Yield each answer as it comes, and ``None`` every :data:`LOOK_SECONDS`. Raises what asking raised.

        A target that cannot be reached is tried again with growing pauses, until the source is stopped.
        """

    def stop(self) -> None:
        """Ask no more."""


class Poller:
    """Asks the target in a thread, a few answers ahead of the reader.

    :param wait_s: how long one poll waits for news.
    :param is_log_capped: whether no more of the log is shown before its end, so that it need not be read.
    """

    def __init__(
        self, target: ComputeTarget, cursor: Cursor, *, wait_s: float, is_log_capped: Callable[[], bool]
    ) -> None:
        self._target, self._cursor, self._wait_s, self._is_log_capped = target, cursor, wait_s, is_log_capped
        self._answers: Queue[News | Trouble | Exception] = Queue(maxsize=ANSWERS_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._ask, name=f"poll {self._cursor.run_id}", daemon=True)
        self._thread.start()

    def answers(self) -> Iterator[News | Trouble | None]:
        """See :class:`Source`."""
        while True:
            try:
                answer = self._answers.get(timeout=LOOK_SECONDS)
            except Empty:
                yield None
                continue
            if isinstance(answer, Exception):
                raise answer
            yield answer

    def stop(self) -> None:
        """Ask no more. A poll that waits now ends by itself, or with the target's ``close``."""
        self._stopped.set()
        while True:
            try:
                self._answers.get_nowait()
            except Empty:  # noqa: PERF203
                return

    def _ask(self) -> None:
        reached_at, growing = time.monotonic(), pauses()
        while not self._stopped.is_set():
            try:
                self._leave_out_the_log()
                answer = self._target.poll([self._cursor], wait_s=self._wait_s)
            except TargetUnreachableError as error:
                pause = next(growing)
                self._answers.put(Trouble(error, pause, reached_at))
                self._stopped.wait(pause)
                continue
            except Exception as error:  # noqa: BLE001 - raised again by the thread that reads
                self._answers.put(error)
                return
            reached_at, growing = time.monotonic(), pauses()
            for news in answer:
                self._cursor = self._cursor.after(news)
                self._answers.put(news)
                if news.error is not None or news.is_last or is_not_started(news):
                    return

    def _leave_out_the_log(self) -> None:
        """Once the view is capped, ask for no more of the log; and for the status anew, which may be the last one."""
        if not self._is_log_capped() or Stream.RUN_LOG not in self._cursor.offsets:
            return
        rest: dict[Stream, int] = {
            stream: offset for stream, offset in self._cursor.offsets.items() if stream is not Stream.RUN_LOG
        }
        self._cursor = replace(self._cursor, seen=-1, offsets=rest)


def is_not_started(news: News) -> bool:
    """Whether nobody is about to start the run: its starter died before it began."""
    return news.status is not None and news.status.status is Status.NOT_STARTED
