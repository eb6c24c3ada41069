"""One execution of a script, seen from here: its status, metrics, log and files, in any process at any time."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import (
    RunNotFoundError,
    ScriptRunError,
    TargetError,
    TargetUnreachableError,
    UnknownRunError,
)
from airflow_provider.scriptrun.runs import workspace_layout as layout
from airflow_provider.scriptrun.runs.collect import Collection, check_files, collect
from airflow_provider.scriptrun.runs.crash_points import AFTER_COLLECT, AFTER_END_BEFORE_COLLECT, crash_point
from airflow_provider.scriptrun.runs.description import describe
from airflow_provider.scriptrun.runs.lineage import DELIVERED, Nowhere, load_cursor, save_cursor
from airflow_provider.scriptrun.runs.log_view import LogView
from airflow_provider.scriptrun.runs.metrics import Messages
from airflow_provider.scriptrun.runs.outcome import error_for
from airflow_provider.scriptrun.runs.progress import Progress
from airflow_provider.scriptrun.runs.reach import Patience, reach
from airflow_provider.scriptrun.runs.record import make_record
from airflow_provider.scriptrun.runs.reporter import Printer, Quiet
from airflow_provider.scriptrun.runs.run_folder import RunFolder
from airflow_provider.scriptrun.runs.run_view import RunView
from airflow_provider.scriptrun.runs.watch import Watch
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets.contract import Cursor, Handle, Stream
from airflow_provider.scriptrun.targets.parse import run_status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_provider.scriptrun.runs.lineage import LineageStore
    from airflow_provider.scriptrun.runs.reporter import Reporter
    from airflow_provider.scriptrun.runs.surroundings import Surroundings
    from airflow_provider.scriptrun.runs.workspace import Workspace
    from airflow_provider.scriptrun.targets.contract import ComputeTarget, RunStatus

log = logging.getLogger(__name__)

#: Beyond the grace that a script has: for the target to see everything dead and to answer.
CANCEL_MARGIN_SECONDS = 30.0
#: A target that is silent for so long after a run's end fails the try; the next one collects.
COLLECT_PATIENCE_SECONDS = 3600.0


class Run:
    """A run that was submitted. Azure ML's names and meanings, where it has them.

    Made by ``Experiment.submit``, :meth:`get` or :meth:`from_record`; everything it needs is in the workspace, so that
    any process can go on where another one stopped.
    """

    def __init__(
        self,
        workspace: Workspace,
        experiment: str,
        run_id: str,
        *,
        surroundings: Surroundings | None = None,
        lineage: LineageStore | None = None,
    ) -> None:
        self.workspace, self.experiment, self.id = workspace, experiment, run_id
        self.folder = RunFolder(workspace, experiment, run_id)
        self._known_surroundings = surroundings
        self._lineage: LineageStore = lineage or Nowhere()
        self._restart: Callable[[], object] | None = None
        self._opened: ComputeTarget | None = None
        self._status: RunStatus | None = None

    def __repr__(self) -> str:
        return f"Run({self.experiment!r}, {self.id!r})"

    # Finding runs

    @classmethod
    def get(cls, workspace: Workspace, run_id: str, experiment: str | None = None) -> Run:
        """Open a run by its id, in whatever process. Raises :class:`RunNotFoundError`.

        :param experiment: where it belongs; looked for when it is not given.
        """
        own_name = run_id.rsplit("_", 2)[0]
        names = [experiment] if experiment else dict.fromkeys([own_name, *workspace.experiments()])
        for name in names:
            run = cls(workspace, name, run_id)
            if run.folder.is_known():
                return run
        raise RunNotFoundError(f"The workspace {workspace.url} knows no run {run_id!r}")

    @classmethod
    def from_record(cls, record: Mapping[str, Any], workspace: Workspace | None = None) -> Run:
        """Open the run that a run record (an XCom value) describes; its workspace is where the record says.

        Raises :class:`RunNotFoundError` for what is no run record.
        """
        experiment, run_id, uri = _named_by(record)
        if workspace is None:
            from airflow_provider.scriptrun.runs.workspace import Workspace

            root = uri.removesuffix(f"/{layout.run_folder(experiment, run_id)}/{layout.OUTPUTS}")
            default = Workspace.from_config()
            workspace = default if default.url == root else Workspace(root)
        return cls(workspace, experiment, run_id)

    @classmethod
    def list(cls, workspace: Workspace, experiment: str) -> Sequence[Run]:
        """Return the experiment's runs, oldest first."""
        runs = [cls(workspace, experiment, run_id) for run_id in workspace.run_ids(experiment)]
        return sorted((run for run in runs if run.folder.is_known()), key=_submitted_at)

    @staticmethod
    def get_context() -> Any:
        """Inside a script: the run it belongs to; outside a run: an object that does nothing."""
        from airflow_provider.scriptrun.context import get_context

        return get_context()

    # What is known

    @property
    def submission(self) -> Mapping[str, Any]:
        """What was submitted: configuration, snapshot, Git facts, handle. Raises :class:`RunNotFoundError`."""
        return self.folder.submission

    @property
    def record(self) -> dict[str, Any] | None:
        """The run record; ``None`` before the run was collected."""
        return self.folder.record

    @property
    def log_uri(self) -> str:
        """Where the whole log is (or will be) in the workspace."""
        return self.folder.uri(layout.RUN_LOG)

    @property
    def experiment_uri(self) -> str:
        """Where its experiment is in the workspace: the folder that its own folder is in."""
        return self.workspace.objects.uri(layout.experiment_folder(self.experiment))

    def get_status(self) -> str:
        """Return Azure's name of the status, asked from the target while the run is not over.

        Raises :class:`TargetError` when it cannot be asked.
        """
        record = self.record
        return str(record["status"]) if record is not None else self._ask_status().status.value

    def get_details(self) -> dict[str, Any]:
        """Return ids, status, times, target, error, properties, the configuration and where the log files are.

        The names are Azure ML's; times are ISO 8601 in UTC.
        """
        submission, record = self.submission, self.record
        if record is None:
            status = self._ask_status()
            record = make_record(describe(self.folder, self.experiment, status, (), Messages()))
        failed = record["status"] in (Status.FAILED.value, Status.CANCELED.value)
        error = {"error": {"code": record["reason"], "message": record["message"]}} if failed else None
        git = {f"git.{name}": value for name, value in record["git"].items() if value is not None}
        return {
            "runId": self.id,
            "experiment": self.experiment,
            "target": record["target"]["name"],
            "status": record["status"],
            "startTimeUtc": record["started_at"],
            "endTimeUtc": record["ended_at"],
            "error": error,
            "warnings": [{"source": "snapshot", "message": text} for text in submission["snapshot"]["warnings"]],
            "properties": {"ContentSnapshotId": record["snapshot"]["id"], **git},
            "tags": self.get_tags(),
            "runDefinition": submission["config"],
            "logFiles": {file.path: self.folder.uri(file.path) for file in self.folder.files() if _is_log(file.path)},
            "record": record,
        }

    def get_metrics(self, name: str | None = None) -> dict[str, Any]:
        """Return each metric: its value, or the list of its values where it was logged more than once.

        A series of rows comes as one mapping of column names to lists. Works while the script runs.
        """
        messages = self._messages(keep_series=True)
        found = {key: _series(values) for key, values in messages.series.items()}
        return found if name is None else {key: value for key, value in found.items() if key == name}

    def get_tags(self) -> dict[str, str]:
        """Return the tags: those of the configuration, of the script, and of :meth:`tag`, which win in this order."""
        return {**self.submission["tags"], **self._messages().tags, **self.folder.own_tags}

    def tag(self, name: str, value: str | None = None) -> None:
        """Set a tag. Of two processes that do so at the same moment, one wins."""
        self.folder.put_tag(name, "" if value is None else str(value))

    def get_file_names(self) -> Sequence[str]:
        """Return the paths of the run's files: what was collected, or, before that, what the target has now."""
        if self.record is None:
            return [file.path for file in check_files(self.target().files(self.id))]
        return [file.path for file in self.folder.files()]

    # Copies of files

    def download_file(self, name: str, output_file_path: str | Path | None = None) -> Path:
        """Copy one collected file here, checked against its hash; by default under its own last name.

        Raises :class:`RunNotFoundError` for a file that the run has not.
        """
        file = self.folder.file(name)
        path = Path(Path(name).name if output_file_path is None else output_file_path)
        return self.folder.copy(file, path / Path(name).name if path.is_dir() else path)

    def download_files(self, prefix: str | None = None, output_directory: str | Path = ".") -> Sequence[Path]:
        """Copy the collected files whose path starts with ``prefix`` under a folder, with their paths."""
        wanted = [file for file in self.folder.files() if file.path.startswith(prefix or "")]
        return [self.folder.copy(file, Path(output_directory) / file.path) for file in wanted]

    def get_all_logs(self, destination: str | Path | None = None) -> Sequence[Path]:
        """Copy run.log, build.log and logs/ into a folder (default: one named after the run)."""
        folder = Path(self.id if destination is None else destination)
        return [self.folder.copy(file, folder / file.path) for file in self.folder.files() if _is_log(file.path)]

    def restore_snapshot(self, destination: str | Path) -> Path:
        """Write the exact files that ran into a folder that does not exist yet; every one is verified."""
        return self.workspace.restore_snapshot(self.submission["snapshot"]["id"], destination)

    # Following it

    def wait_for_completion(self, show_output: bool = False, *, raise_on_error: bool = True) -> dict[str, Any]:
        """Watch to the end, collect, and return :meth:`get_details`. Interrupted, it leaves the run going.

        :param show_output: print the script's lines as they come.
        :param raise_on_error: raise the :class:`RunFailedError` that says how it ended, unless it is Completed.
        """
        reporter = Printer() if show_output else Quiet()
        try:
            if self.record is None:
                self.watch(reporter)
                self.collect(reporter=reporter)
            elif show_output:
                self._print_log(reporter)
        except KeyboardInterrupt:
            reporter.warning(
                f"Run {self.id} goes on. run.cancel() ends it; "
                f"Run.get(workspace, {self.id!r}).wait_for_completion() comes back to it."
            )
            raise
        finally:
            self.close()
        if raise_on_error:
            self.raise_for_status()
        return self.get_details()

    def watch(
        self,
        reporter: Reporter | None = None,
        *,
        should_stop: Callable[[], bool] | None = None,
        cursor: Cursor | None = None,
    ) -> RunStatus | None:
        """Follow the run to its end: its log to ``reporter.line``.

        It goes on at ``cursor``, else where the last watcher of its lineage stopped. Returns the final status, or the
        latest one when ``should_stop()`` became true (asked at least every second).

        Raises :class:`RunFailedError` with reason ``unreachable`` when the lease has surely run out,
        :class:`TargetError` when the target cannot speak about the run.
        """
        settings = self._surroundings().settings
        limits = self.submission["limits"]
        view = RunView(
            cursor=cursor or load_cursor(self._lineage, self.id) or Cursor(self.id),
            reporter=reporter or Quiet(),
            log_name=self.log_uri,
            log_cap_bytes=settings.task_log_cap_bytes,
            orphan_after_s=limits["orphan_after_s"],
            grace_s=limits["grace_s"],
            save=lambda cursor: save_cursor(self._lineage, cursor),
        )
        watch = Watch(
            target=self.target(),
            view=view,
            poll_wait_s=settings.poll_wait_seconds,
            should_stop=should_stop or (lambda: False),
            restart=self._restart,
        )
        self._status = watch.follow() or self._status
        if self._status is not None and self._status.is_terminal:
            crash_point(AFTER_END_BEFORE_COLLECT)
        return self._status

    def collect(self, *, reporter: Reporter | None = None) -> dict[str, Any]:
        """Fetch what the workspace lacks of outputs, logs and messages, write the run record, and return it (the XCom).

        May be called again at any time. Raises :class:`TargetError`, :class:`WorkspaceError`, and
        :class:`ScriptRunError` when the run is not over.
        """
        began = time.monotonic()
        reporter = reporter or Quiet()
        status = self._status if self._status is not None and self._status.is_terminal else self._ask_status()
        if not status.is_terminal:
            raise ScriptRunError(
                f"Run {self.id} is {status.status.value}, not over", advice="Wait for it, or cancel it"
            )
        progress = Progress(
            reporter, f"Collecting what run {self.id} left", is_terminal=self._surroundings().is_terminal
        )
        patience = Patience(COLLECT_PATIENCE_SECONDS, advice="run.collect() brings it when the target is back")
        found = reach(reporter, lambda: self._fetch(patience.beside(progress.reach)), patience=patience)
        progress.finish()
        if warning := found.warning():
            reporter.warning(warning)
        messages = self.folder.messages() or Messages()
        if messages.bad_lines or messages.left_out:
            reporter.warning(
                f"{messages.bad_lines} lines of {layout.MESSAGES} are no messages, "
                f"and {messages.left_out} had more names than are kept."
            )
        parts = describe(self.folder, self.experiment, status, found.files, messages)
        parts["phases"]["collect"] = round(time.monotonic() - began, 3)
        named = self._surroundings().settings.outputs_record_files
        record = make_record(parts, output_files=named, not_brought=found.skipped_count)
        self.folder.put_record(record, status.document)
        crash_point(AFTER_COLLECT)
        self._release()
        return record

    def raise_for_status(self) -> None:
        """Raise the error of the tree that says how the run ended; nothing for Completed.

        To be called after :meth:`collect`, so that what the run left is not lost.
        """
        error = error_for(self._final(), self.id, self.folder.uri)
        if error is not None:
            raise error

    def cancel(self, *, reason: Reason = Reason.CANCELED, wait_seconds: float | None = None) -> Status:
        """End the whole process tree; returns when everything of it is seen dead (or after ``wait_seconds``).

        A run that is over stays as it ended. :meth:`collect` brings what it left. Raises :class:`TargetError`.
        """
        wait_s = self.submission["limits"]["grace_s"] + CANCEL_MARGIN_SECONDS if wait_seconds is None else wait_seconds
        lineage = self.submission["handle"]["lineage"]
        while True:
            target = self.target()
            try:
                self._status = target.cancel(self.id, lineage=lineage, reason=reason, wait_s=wait_s)
            except TargetUnreachableError:
                if self._opened is target:
                    raise
                continue  # another thread, which waited for this very end, has closed it
            return self._status.status

    def mark_delivered(self) -> None:
        """Say in the lineage store that the record has been handed over: the last act of a task."""
        self._lineage.set(DELIVERED, self.id)

    def close(self) -> None:
        """Close the connection to the target, when there is one; the next call opens it again. The run goes on."""
        target, self._opened = self._opened, None
        if target is not None:
            target.close()

    def target(self) -> ComputeTarget:
        """Return the target that the run is on, opened from its handle."""
        if self._opened is None:
            from airflow_provider.scriptrun.targets.registry import open_handle

            handle = Handle.from_document(self.submission["handle"])
            self._opened = open_handle(handle, self._surroundings())
        return self._opened

    def attach(self, target: ComputeTarget, restart: Callable[[], object] | None = None) -> None:
        """Use a target that is open already, and know how to ask for the run again if nobody started it."""
        self._opened, self._restart = target, restart

    # Inside

    def _surroundings(self) -> Surroundings:
        if self._known_surroundings is None:
            from airflow_provider.scriptrun.runs.surroundings import current

            self._known_surroundings = current()
        return self._known_surroundings

    def _ask_status(self) -> RunStatus:
        status = self.target().status([self.id]).get(self.id)
        if status is None:
            raise UnknownRunError(
                f"The target {self.submission['target']['name']} knows no run {self.id}",
                why="it never started there, or was cleaned away long after its end",
            )
        self._status = status
        return status

    def _release(self) -> None:
        """Tell the target that it may clean the run before its time. One that does not hear it only keeps it longer."""
        try:
            self.target().collected(self.id)
        except TargetError as error:
            log.debug("The target does not know that run %s was collected: %s", self.id, error)

    def _fetch(self, progress: Callable[..., None]) -> Collection:
        try:
            return collect(self.target(), self.id, self.folder.objects, self.folder.name, progress)
        except UnknownRunError:
            # Its status is known, and terminal: it was cancelled before it had a folder.
            return Collection(tuple(self.folder.files()))

    def _final(self) -> RunStatus:
        if self._status is not None and self._status.is_terminal:
            return self._status
        document = self.folder.status_document
        return self._ask_status() if document is None else run_status(document, self.id)

    def _messages(self, *, keep_series: bool = False) -> Messages:
        """Read metrics and tags: from the workspace when they were collected, else from the target."""
        collected = self.folder.messages(keep_series=keep_series)
        if collected is not None or self.record is not None:
            return collected or Messages()
        messages = Messages(keep_series=keep_series)
        cursor = Cursor(self.id, offsets={Stream.MESSAGES: 0})
        while True:
            news = next(iter(self.target().poll([cursor], wait_s=0)), None)
            if news is not None and news.error is not None:
                raise news.error
            if news is None or not news.data(Stream.MESSAGES):
                return messages
            messages.feed(news.data(Stream.MESSAGES))
            cursor = cursor.after(news)

    def _print_log(self, reporter: Reporter) -> None:
        view = LogView(reporter.line, whole=self.log_uri)
        for file in self.folder.files():
            if file.path in (layout.BUILD_LOG, layout.RUN_LOG):
                for piece in self.folder.read(file.path):
                    view.feed(piece)
                view.finish()


def _named_by(record: Any) -> tuple[str, str, str]:
    """Return experiment, run id and the URI of its outputs."""
    from collections.abc import Mapping

    fields = record if isinstance(record, Mapping) else {}
    outputs = fields.get("outputs")
    uri = outputs.get("uri") if isinstance(outputs, Mapping) else None
    named = {"experiment": fields.get("experiment"), "run_id": fields.get("run_id"), "outputs.uri": uri}
    lacking = [name for name, value in named.items() if not isinstance(value, str) or not value]
    if lacking:
        why = f"it has no {', '.join(lacking)}" if fields else "a run record is a dictionary"
        raise RunNotFoundError(
            f"{record!r:.100} is no run record",
            why=why,
            advice="Give the whole XCom value of a task, train.output; or open a run by its id: Run.get(workspace, id)",
        )
    experiment, run_id, uri = named.values()
    return str(experiment), str(run_id), str(uri)


def _submitted_at(run: Run) -> str:
    return str(run.submission["submitted_at"])


def _is_log(path: str) -> bool:
    return path in (layout.RUN_LOG, layout.BUILD_LOG) or path.startswith(f"{layout.LOGS}/")


def _series(values: Sequence[Any]) -> Any:
    if len(values) == 1:
        return values[0]
    if not all(isinstance(value, dict) for value in values):
        return [*values]
    columns = dict.fromkeys(name for row in values for name in row)
    return {name: [row.get(name) for row in values] for name in columns}
