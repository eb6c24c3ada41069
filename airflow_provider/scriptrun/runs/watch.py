"""Follows one run from a cursor to its end: status, log, messages; through lost connections; until told to stop.

A thread asks the target (a long poll, so that the end is known at once) while this one shows what came and asks
``should_stop``. Whatever is shown is shown in order and once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import RunFailedError, TargetError, TargetUnreachableError
from airflow_provider.scriptrun.runs import lease
from airflow_provider.scriptrun.runs.crash_points import WHILE_PREPARING, WHILE_RUNNING, crash_point
from airflow_provider.scriptrun.runs.lease import WATCHED_SECONDS
from airflow_provider.scriptrun.runs.log_view import TAIL_BYTES, LogView
from airflow_provider.scriptrun.runs.metrics import Messages
from airflow_provider.scriptrun.runs.poller import Poller, is_not_started
from airflow_provider.scriptrun.runs.reach import Patience, Trouble, reach
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets.contract import Cursor, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider.scriptrun.runs.poller import Source
    from airflow_provider.scriptrun.runs.reporter import Reporter
    from airflow_provider.scriptrun.targets.contract import ComputeTarget, News, RunStatus

#: What was shown is stored for a successor at most so often: in a task, each time is a request to Airflow's API server.
SAVE_SECONDS = 15.0
#: More of an environment's build than this is worth a look at build.log itself.
BUILD_LOG_CAP_BYTES = 4 * 1024 * 1024
#: A target that is silent for so long shows no last lines of a capped log: they are in the workspace soon.
TAIL_PATIENCE_SECONDS = 60.0
#: A start that nobody finished is repeated so often.
MAX_RESTARTS = 3

_NOTES = {
    Status.NOT_STARTED: "has not started",
    Status.STARTING: "is starting",
    Status.PREPARING: "is preparing its working copy and environment",
    Status.QUEUED: "waits for its turn on the target",
    Status.RUNNING: "is running",
    Status.FINALIZING: "is finalizing",
    Status.CANCEL_REQUESTED: "is being cancelled",
}


@dataclass
class Watch:
    """One follower of one run.

    :param target: where it is.
    :param cursor: where to begin: of a new run, or where an earlier watcher stopped.
    :param log_name: where the whole log will be, for a person.
    :param save: called with the cursor that a successor should begin at: every :data:`SAVE_SECONDS` while there is
        something new, every :data:`~.lease.WATCHED_SECONDS` in any case, and when told to stop.
    :param restart: asks for the same run id again; ``None`` where the request is not known any more.
    :param orphan_after_s: after how many seconds without a poll the run ends itself; ``None``: never.
    :param source: makes what brings the news from a cursor on, given what says whether the log is capped; ``None``: a
        poller of its own.
    """

    target: ComputeTarget
    cursor: Cursor
    reporter: Reporter
    log_name: str = "run.log"
    log_cap_bytes: int = 0
    poll_wait_s: float = 20.0
    orphan_after_s: float | None = None
    grace_s: float = 30.0
    should_stop: Callable[[], bool] = lambda: False
    save: Callable[[Cursor], None] = lambda _cursor: None
    restart: Callable[[], object] | None = None
    messages: Messages = field(default_factory=Messages)
    source: Callable[[Cursor, Callable[[], bool]], Source] | None = None
    status: RunStatus | None = None

    def __post_init__(self) -> None:
        offset = self.cursor.offsets.get(Stream.RUN_LOG, 0)
        self._log = LogView(self.reporter.line, cap_bytes=self.log_cap_bytes, whole=self.log_name, offset=offset)
        self._build = LogView(
            self.reporter.line,
            cap_bytes=BUILD_LOG_CAP_BYTES,
            whole=self.log_name.replace("run.log", "build.log"),
            offset=self.cursor.offsets.get(Stream.BUILD_LOG, 0),
        )
        self._shown: Status | None = None
        self._restarts = 0
        self._saved_at = time.monotonic()
        self._saved = self._shown_offsets()
        # Messages are few: a new watcher reads them again, and knows all metrics.
        offsets: dict[Stream, int] = {**self.cursor.offsets, Stream.MESSAGES: 0}
        self.cursor = replace(self.cursor, seen=-1, offsets=offsets)
        if offset:
            self.reporter.note(f"The log goes on at byte {offset}, where an earlier watcher of this run stopped.")

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
                    return self.status
            finally:
                source.stop()
        self._save()
        return self.status

    def _open(self) -> Source:
        if self.source is not None:
            return self.source(self.cursor, lambda: self._log.is_capped)
        return Poller(self.target, self.cursor, wait_s=self.poll_wait_s, is_log_capped=lambda: self._log.is_capped)

    def _read(self, source: Source) -> bool:
        """Show what a source brings; return whether the run is over, false to go on with a new source."""
        for news in source.answers():
            if isinstance(news, Trouble):
                self._give_up_when_over(news)
                self.reporter.warning(f"{news.error} The run goes on; trying again in {news.pause_s:.0f} s.")
            elif news is not None:
                self._take(news)
                if news.is_last:
                    return True
                if is_not_started(news):
                    self._start_again()
                    return False
            self._look()  # also without an answer: a question may have renewed the lease
            if self.should_stop():
                return False
        return False

    def _take(self, news: News) -> None:
        """Show what is new."""
        if news.error is not None:
            raise news.error
        self.cursor = self.cursor.after(news)
        self._build.feed(news.data(Stream.BUILD_LOG))
        if news.status is not None:
            self._tell(news.status)
        self._log.feed(news.data(Stream.RUN_LOG))
        self.messages.feed(news.data(Stream.MESSAGES))

    def _tell(self, status: RunStatus) -> None:
        self.status = status
        if status.status is self._shown:
            return
        is_first, self._shown = self._shown is None, status.status
        if is_first:
            crash_point(WHILE_PREPARING)
        if status.status is Status.RUNNING:
            crash_point(WHILE_RUNNING)
        if status.status in _NOTES:
            host = f" on {status.host.name}" if status.host and status.host.name else ""
            self.reporter.note(f"Run {self.cursor.run_id} {_NOTES[status.status]}{host}.")

    def _start_again(self) -> None:
        """Whoever should have started the run died before it began: the same run id is asked for again."""
        self._restarts += 1
        if self.restart is None or self._restarts > MAX_RESTARTS:
            raise TargetError(
                f"Run {self.cursor.run_id} has not started, and nobody is about to start it",
                advice="Submit it again under the same run id",
            )
        self.reporter.note(f"Run {self.cursor.run_id} had not begun when its starter died; asking for it again.")
        self.restart()
        self.cursor = replace(self.cursor, seen=-1)

    def _look(self) -> None:
        now = time.monotonic()
        self._log.tick(now)
        self._build.tick(now)
        age = now - self._saved_at
        if age >= WATCHED_SECONDS or (age >= SAVE_SECONDS and self._shown_offsets() != self._saved):
            self._save()

    def _save(self) -> None:
        self._saved_at, self._saved = time.monotonic(), self._shown_offsets()
        self.save(replace(self.cursor, offsets={**self.cursor.offsets, **self._saved}))

    def _shown_offsets(self) -> dict[Stream, int]:
        return {Stream.RUN_LOG: self._log.shown_offset, Stream.BUILD_LOG: self._build.shown_offset}

    def _finish(self) -> None:
        self._build.finish()
        if self._log.is_capped:
            try:
                self._show_tail()
            except TargetUnreachableError as error:
                self.reporter.warning(f"The last lines of the log cannot be shown: {error}")
        self._log.finish()
        self.messages.finish()
        if self._shown_offsets() != self._saved:
            self._save()

    def _show_tail(self) -> None:
        """Read the last lines of a log that went over the cap; the bytes between are in the workspace."""
        reached = self.cursor.offsets[Stream.RUN_LOG]
        size = self._log_part(reached, 1)[1]
        begin = max(reached, size - TAIL_BYTES)
        if begin > reached:
            self._log.skip(begin - reached)
        while begin < size:
            data, size = self._log_part(begin, TAIL_BYTES)
            if not data:
                return
            self._log.feed(data)
            begin += len(data)

    def _log_part(self, offset: int, count: int) -> tuple[bytes, int]:
        cursor = Cursor(self.cursor.run_id, seen=-1, offsets={Stream.RUN_LOG: offset})
        answer = reach(
            self.reporter,
            lambda: self.target.poll([cursor], wait_s=0, max_bytes=count),
            should_stop=self.should_stop,
            patience=Patience(TAIL_PATIENCE_SECONDS),
        )
        for news in answer:
            for part in news.parts:
                return part.data, part.size
        return b"", offset

    def _give_up_when_over(self, trouble: Trouble) -> None:
        silent = time.monotonic() - trouble.reached_at
        longest = lease.longest_silence_s(orphan_after_s=self.orphan_after_s, grace_s=self.grace_s)
        if longest is not None and silent > longest:
            raise RunFailedError(
                f"Run {self.cursor.run_id} could not be reached for {silent:.0f} s (unreachable)",
                why=f"by now nobody has watched it for so long that it has ended itself. {trouble.error}",
                advice="When the target is back, run.collect() brings what it left",
                run_id=self.cursor.run_id,
            ) from trouble.error
