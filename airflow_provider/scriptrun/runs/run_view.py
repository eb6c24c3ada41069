"""What a person sees of one run while it goes on: its status, its build, its log; whoever brings the news."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import RunFailedError
from airflow_provider.scriptrun.runs import lease
from airflow_provider.scriptrun.runs.crash_points import WHILE_PREPARING, WHILE_RUNNING, crash_point
from airflow_provider.scriptrun.runs.lease import WATCHED_SECONDS
from airflow_provider.scriptrun.runs.log_view import LogView
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets.contract import Cursor, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider.scriptrun.runs.reach import Trouble
    from airflow_provider.scriptrun.runs.reporter import Reporter
    from airflow_provider.scriptrun.targets.contract import News, RunStatus

#: What was shown is stored for a successor at most so often: in a task, each time is a request to Airflow's API server.
SAVE_SECONDS = 15.0
#: More of an environment's build than this is worth a look at build.log itself.
BUILD_LOG_CAP_BYTES = 4 * 1024 * 1024

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
class RunView:
    """Shows one run from a cursor on. Whatever is shown is shown in order and once.

    :param cursor: where to begin: of a new run, or where an earlier watcher stopped.
    :param log_name: where the whole log will be, for a person.
    :param save: called with the cursor that a successor should begin at: every :data:`SAVE_SECONDS` while there is
        something new, every :data:`~.lease.WATCHED_SECONDS` in any case.
    :param orphan_after_s: after how many seconds without a poll the run ends itself; ``None``: never.
    """

    cursor: Cursor
    reporter: Reporter
    log_name: str = "run.log"
    log_cap_bytes: int = 0
    orphan_after_s: float | None = None
    grace_s: float = 30.0
    save: Callable[[Cursor], None] = lambda _cursor: None

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
        self._saved_at = time.monotonic()
        self._saved = self._shown_offsets()
        offsets: dict[Stream, int] = {
            stream: offset for stream, offset in self.cursor.offsets.items() if stream is not Stream.MESSAGES
        }
        self.cursor = replace(self.cursor, seen=-1, offsets=offsets)  # nobody reads metrics in a log
        if offset:
            self.reporter.note(f"The log goes on at byte {offset}, where an earlier watcher of this run stopped.")

    @property
    def is_log_capped(self) -> bool:
        """Whether no more of the log is shown before its end."""
        return self._log.is_capped

    @property
    def shown(self) -> Cursor:
        """Where a successor goes on: behind the last whole line that was shown."""
        return replace(self.cursor, offsets={**self.cursor.offsets, **self._shown_offsets()})

    def take(self, news: News) -> None:
        """Show what is new. Raises the error that the news are, if they are one."""
        if news.error is not None:
            raise news.error
        self.cursor = self.cursor.after(news)
        self._build.feed(news.data(Stream.BUILD_LOG))
        if news.status is not None:
            self._tell(news.status)
        self._log.feed(news.data(Stream.RUN_LOG))

    def struggle(self, trouble: Trouble) -> None:
        """Say that the target cannot be reached just now.

        Raises :class:`RunFailedError` once that has lasted for so long that the run has surely ended itself.
        """
        silent = time.monotonic() - trouble.reached_at
        longest = lease.longest_silence_s(orphan_after_s=self.orphan_after_s, grace_s=self.grace_s)
        if longest is not None and silent > longest:
            raise RunFailedError(
                f"Run {self.cursor.run_id} could not be reached for {silent:.0f} s (unreachable)",
                why=f"by now nobody has watched it for so long that it has ended itself. {trouble.error}",
                advice="When the target is back, run.collect() brings what it left",
                run_id=self.cursor.run_id,
            ) from trouble.error
        self.reporter.warning(f"{trouble.error} The run goes on; trying again in {trouble.pause_s:.0f} s.")

    def look(self) -> None:
        """Show what shows by the clock, and store how far this has come where it is time to."""
        self.tick()
        if self.is_due:
            self.store()

    def tick(self) -> None:
        """Show what shows by the clock: the latest state of a progress bar."""
        now = time.monotonic()
        self._log.tick(now)
        self._build.tick(now)

    @property
    def is_due(self) -> bool:
        """Whether it is time to store how far this has come."""
        age = time.monotonic() - self._saved_at
        return age >= WATCHED_SECONDS or (age >= SAVE_SECONDS and self._shown_offsets() != self._saved)

    def store(self) -> None:
        """Store how far this has come."""
        self._saved_at, self._saved = time.monotonic(), self._shown_offsets()
        self.save(self.shown)

    def skip(self, count: int) -> None:
        """Leave bytes of a capped log out: only its end matters now."""
        self._log.skip(count)

    def add(self, data: bytes) -> None:
        """Show more of the log, which did not come with news."""
        self._log.feed(data)

    def finish(self) -> None:
        """Show what has no line end yet, at the end of a run."""
        self._build.finish()
        self._log.finish()
        if self._shown_offsets() != self._saved:
            self.store()

    def _tell(self, status: RunStatus) -> None:
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

    def _shown_offsets(self) -> dict[Stream, int]:
        return {Stream.RUN_LOG: self._log.shown_offset, Stream.BUILD_LOG: self._build.shown_offset}
