"""Follows one run from a cursor to its end: through lost connections, until told to stop.

A thread asks the target (a long poll, so that the end is known at once) while this one shows what came and asks
``should_stop``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import TargetError, TargetUnreachableError
from airflow_provider.scriptrun.runs.log_view import TAIL_BYTES
from airflow_provider.scriptrun.runs.poller import Poller, is_not_started
from airflow_provider.scriptrun.runs.reach import Patience, Trouble, reach
from airflow_provider.scriptrun.targets.contract import Cursor, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider.scriptrun.runs.poller import Source
    from airflow_provider.scriptrun.runs.run_view import RunView
    from airflow_provider.scriptrun.targets.contract import ComputeTarget, RunStatus

#: A target that is silent for so long shows no last lines of a capped log: they are in the workspace soon.
TAIL_PATIENCE_SECONDS = 60.0
#: A start that nobody finished is repeated so often.
MAX_RESTARTS = 3


@dataclass
class Watch:
    """One follower of one run, with a thread of its own.

    :param target: where it is.
    :param view: shows what is new.
    :param restart: asks for the same run id again; ``None`` where the request is not known any more.
    :param source: makes what brings the news from a cursor on, given what says whether the log is capped; ``None``: a
        poller of its own.
    """

    target: ComputeTarget
    view: RunView
    poll_wait_s: float = 20.0
    should_stop: Callable[[], bool] = lambda: False
    restart: Callable[[], object] | None = None
    source: Callable[[Cursor, Callable[[], bool]], Source] | None = None

    def __post_init__(self) -> None:
        self._restarts = 0
        self._status: RunStatus | None = None

    def follow(self) -> RunStatus | None:
        """Follow the run to its end and return its final status, or the latest once ``should_stop()`` is true.

        Raises :class:`RunFailedError` when the target could not be reached until the run has surely ended itself,
        :class:`TargetError` when the target cannot speak about the run.
        """
        while not self.should_stop():
            source = self._open()
            try:
                if self._read(source):
                    self._finish()
                    return self._status
            finally:
                source.stop()
        self.view.store()
        return self._status

    def _open(self) -> Source:
        cursor = self.view.cursor
        if self.source is not None:
            return self.source(cursor, lambda: self.view.is_log_capped)
        return Poller(self.target, cursor, wait_s=self.poll_wait_s, is_log_capped=lambda: self.view.is_log_capped)

    def _read(self, source: Source) -> bool:
        """Show what a source brings; return whether the run is over, false to go on with a new source."""
        for news in source.answers():
            if isinstance(news, Trouble):
                self.view.struggle(news)
            elif news is not None:
                self.view.take(news)
                self._status = news.status or self._status
                if news.is_last:
                    return True
                if is_not_started(news):
                    self._start_again()
                    return False
            self.view.look()  # also without an answer: a question may have renewed the lease
            if self.should_stop():
                return False
        return False

    def _start_again(self) -> None:
        """Whoever should have started the run died before it began: the same run id is asked for again."""
        run_id = self.view.cursor.run_id
        self._restarts += 1
        if self.restart is None or self._restarts > MAX_RESTARTS:
            raise TargetError(
                f"Run {run_id} has not started, and nobody is about to start it",
                advice="Submit it again under the same run id",
            )
        self.view.reporter.note(f"Run {run_id} had not begun when its starter died; asking for it again.")
        self.restart()
        self.view.cursor = replace(self.view.cursor, seen=-1)

    def _finish(self) -> None:
        if self.view.is_log_capped:
            try:
                self._show_tail()
            except TargetUnreachableError as error:
                self.view.reporter.warning(f"The last lines of the log cannot be shown: {error}")
        self.view.finish()

    def _show_tail(self) -> None:
        """Read the last lines of a log that went over the cap; the bytes between are in the workspace."""
        reached = self.view.cursor.offsets[Stream.RUN_LOG]
        size = self._log_part(reached, 1)[1]
        begin = max(reached, size - TAIL_BYTES)
        if begin > reached:
            self.view.skip(begin - reached)
        while begin < size:
            data, size = self._log_part(begin, TAIL_BYTES)
            if not data:
                return
            self.view.add(data)
            begin += len(data)

    def _log_part(self, offset: int, count: int) -> tuple[bytes, int]:
        cursor = Cursor(self.view.cursor.run_id, seen=-1, offsets={Stream.RUN_LOG: offset})
        answer = reach(
            self.view.reporter,
            lambda: self.target.poll([cursor], wait_s=0, max_bytes=count),
            should_stop=self.should_stop,
            patience=Patience(TAIL_PATIENCE_SECONDS),
        )
        for news in answer:
            for part in news.parts:
                return part.data, part.size
        return b"", offset
