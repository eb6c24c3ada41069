"""Follows one run from a cursor to its end: status, log, messages; through lost connections; until told to stop.

A thread asks the target (a long poll, so that the end is known at once) while this one shows what came and asks
``should_stop``. Whatever is shown is shown in order and once.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field, replace
from queue import Empty, Queue
from typing import TYPE_CHECKING, TypeVar

from airflow_provider.scriptrun.errors import RunFailedError, TargetError, TargetUnreachableError
from airflow_provider.scriptrun.runs.crash_points import WHILE_PREPARING, WHILE_RUNNING, crash_point
from airflow_provider.scriptrun.runs.log_view import TAIL_BYTES, LogView
from airflow_provider.scriptrun.runs.metrics import Messages
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets.contract import Cursor, News, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider.scriptrun.runs.reporter import Reporter
    from airflow_provider.scriptrun.targets.contract import ComputeTarget, RunStatus

Result = TypeVar("Result")

#: How often ``should_stop`` is asked at least, and progress bars are looked at.
LOOK_SECONDS = 0.5
#: Pauses between tries to reach a target grow from the first to the last, each drawn from its upper half.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 60.0
#: Beyond orphan_after and grace: for clocks that run apart, and the supervisor's own pace.
LEASE_MARGIN_SECONDS = 120.0
#: How often a successor learns how far this watcher has come.
SAVE_SECONDS = 5.0
#: Answers read ahead of what is shown: with 4 MB each, what a fast log holds in memory.
ANSWERS_AHEAD = 2
#: More of an environment's build than this is worth a look at build.log itself.
BUILD_LOG_CAP_BYTES = 4 * 1024 * 1024
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


def pauses() -> Iterator[float]:
    """Yield growing pauses in seconds, with jitter, so that many watchers do not come back at once."""
    longest = FIRST_PAUSE_SECONDS
    while True:
        yield longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        longest = min(longest * 2, LONGEST_PAUSE_SECONDS)


def reach(
    reporter: Reporter,
    call: Callable[[], Result],
    *,
    should_stop: Callable[[], bool] = lambda: False,
    deadline: float | None = None,
) -> Result:
    """Return ``call()``, tried again with growing pauses while the target cannot be reached. Never elsewhere.

    Raises :class:`TargetUnreachableError` once ``should_stop()`` is true, or ``deadline`` (``time.monotonic``) passed.
    """
    for pause in pauses():
        try:
            return call()
        except TargetUnreachableError as error:  # noqa: PERF203 - a request costs more than a try
            if should_stop() or (deadline is not None and time.monotonic() + pause > deadline):
                raise
            reporter.warning(f"{error} Trying again in {pause:.0f} s.")
            if not _sleep(pause, should_stop):
                raise
    raise AssertionError("unreachable")


@dataclass
class Watch:
    """One follower of one run.

    :param target: where it is.
    :param cursor: where to begin: of a new run, or where an earlier watcher stopped.
    :param log_name: where the whole log will be, for a person.
    :param save: called now and then with the cursor that a successor should begin at.
    :param restart: asks for the same run id again; ``None`` where the request is not known any more.
    :param orphan_after_s: after how many seconds without a poll the run ends itself; ``None``: never.
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
        self._saved_at = self._reached_at = time.monotonic()
        self._pauses = pauses()
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
            poller = _Poller(self)
            try:
                if self._read(poller):
                    self._finish()
                    return self.status
            except TargetUnreachableError as error:
                pause = next(self._pauses)
                self._give_up_when_over(error)
                self.reporter.warning(f"{error} The run goes on; trying again in {pause:.0f} s.")
                _sleep(pause, self.should_stop)
            finally:
                poller.stop()
        self._save()
        return self.status

    def _read(self, poller: _Poller) -> bool:
        """Show what a poller brings; return whether the run is over, false to go on with a new poller."""
        for news in poller.answers():
            if news is not None:
                self._reached_at, self._pauses = time.monotonic(), pauses()
                self._take(news)
                if news.is_last:
                    return True
                if is_not_started(news):
                    self._start_again()
                    return False
            self._look()
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
        self._shown = status.status
        if status.status is Status.PREPARING:
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
        if now - self._saved_at >= SAVE_SECONDS:
            self._save()

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        shown: dict[Stream, int] = {Stream.RUN_LOG: self._log.shown_offset, Stream.BUILD_LOG: self._build.shown_offset}
        self.save(replace(self.cursor, offsets={**self.cursor.offsets, **shown}))

    def _finish(self) -> None:
        self._build.finish()
        if self._log.is_capped:
            self._show_tail()
        self._log.finish()
        self.messages.finish()
        self._save()

    @property
    def is_log_capped(self) -> bool:
        """Whether no more of the log is shown before its end."""
        return self._log.is_capped

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
        for news in reach(self.reporter, lambda: self.target.poll([cursor], wait_s=0, max_bytes=count)):
            for part in news.parts:
                return part.data, part.size
        return b"", offset

    def _give_up_when_over(self, error: TargetUnreachableError) -> None:
        if self.orphan_after_s is None:
            return
        silent = time.monotonic() - self._reached_at
        if silent > self.orphan_after_s + self.grace_s + LEASE_MARGIN_SECONDS:
            raise RunFailedError(
                f"Run {self.cursor.run_id} could not be reached for {silent:.0f} s (unreachable)",
                why=f"by now nobody has watched it for so long that it has ended itself. {error}",
                advice="When the target is back, run.collect() brings what it left",
                run_id=self.cursor.run_id,
            ) from error


class _Poller:
    """Asks the target in a thread, a few answers ahead of the reader."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._cursor = watch.cursor
        self._answers: Queue[News | Exception] = Queue(maxsize=ANSWERS_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._ask, name=f"poll {self._cursor.run_id}", daemon=True)
        self._thread.start()

    def answers(self) -> Iterator[News | None]:
        """Yield each answer as it comes, and ``None`` every :data:`LOOK_SECONDS`. Raises what asking raised."""
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
        while not self._stopped.is_set():
            try:
                self._leave_out_the_log()
                answer = self._watch.target.poll([self._cursor], wait_s=self._watch.poll_wait_s)
            except Exception as error:  # noqa: BLE001 - raised again by the thread that reads
                self._answers.put(error)
                return
            for news in answer:
                self._cursor = self._cursor.after(news)
                self._answers.put(news)
                if news.error is not None or news.is_last or is_not_started(news):
                    return
            if not answer:
                self._answers.put(News(self._cursor.run_id, status=None))

    def _leave_out_the_log(self) -> None:
        """Once the view is capped, ask for no more of the log; and for the status anew, which may be the last one."""
        if not self._watch.is_log_capped or Stream.RUN_LOG not in self._cursor.offsets:
            return
        rest: dict[Stream, int] = {
            stream: offset for stream, offset in self._cursor.offsets.items() if stream is not Stream.RUN_LOG
        }
        self._cursor = replace(self._cursor, seen=-1, offsets=rest)


def is_not_started(news: News) -> bool:
    """Whether nobody is about to start the run: its starter died before it began."""
    return news.status is not None and news.status.status is Status.NOT_STARTED


def _sleep(seconds: float, should_stop: Callable[[], bool]) -> bool:
    """Wait, and return whether the time passed before ``should_stop()`` was true."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if should_stop():
            return False
        time.sleep(min(LOOK_SECONDS, left))
    return not should_stop()
