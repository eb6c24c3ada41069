"""One execution of a script, seen from here: its status, metrics, log and files, in any process at any time."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import RunNotFoundError, ScriptRunError, WorkspaceError
from airflow_provider.scriptrun.runs import workspace_layout as layout
from airflow_provider.scriptrun.runs.collect import CollectedFile, check_files, collect, collected_files
from airflow_provider.scriptrun.runs.crash_points import AFTER_COLLECT, AFTER_END_BEFORE_COLLECT, crash_point
from airflow_provider.scriptrun.runs.lineage import DELIVERED, Nowhere, load_cursor, save_cursor
from airflow_provider.scriptrun.runs.metrics import Messages
from airflow_provider.scriptrun.runs.outcome import error_for
from airflow_provider.scriptrun.runs.record import make_record
from airflow_provider.scriptrun.runs.reporter import Printer, Quiet
from airflow_provider.scriptrun.runs.watch import Watch, reach
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status

if TYPE_CHECKING:
    from airflow_provider.scriptrun.runs.lineage import LineageStore
    from airflow_provider.scriptrun.runs.reporter import Reporter
    from airflow_provider.scriptrun.runs.surroundings import Surroundings
    from airflow_provider.scriptrun.runs.workspace import Workspace
    from airflow_provider.scriptrun.targets.contract import ComputeTarget, RunStatus

#: Beyond the grace that a script has: for the target to see everything dead and to answer.
CANCEL_MARGIN_SECONDS = 30.0
#: A target that cannot be reached for so long after a run's end fails the try; the next one collects.
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
        submission: Mapping[str, Any] | None = None,
        surroundings: Surroundings | None = None,
        lineage: LineageStore | None = None,
    ) -> None:
        self.workspace, self.experiment, self.id = workspace, experiment, run_id
        self._folder = layout.run_folder(experiment, run_id)
        self._known_submission = submission
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
            if workspace.objects.size(f"{layout.run_folder(name, run_id)}/{layout.CONFIG}") is not None:
                return cls(workspace, name, run_id)
        raise RunNotFoundError(f"The workspace {workspace.url} knows no run {run_id!r}")

    @classmethod
    def from_record(cls, record: Mapping[str, Any], workspace: Workspace | None = None) -> Run:
        """Open the run that a run record (an XCom value) describes; its workspace is where the record says.

        Raises :class:`RunNotFoundError` for what is no run record.
        """
        try:
            experiment, run_id = str(record["experiment"]), str(record["run_id"])
            uri = str(record["outputs"]["uri"])
        except (KeyError, TypeError) as error:
            raise RunNotFoundError("This is no run record", why=f"it has no {error}") from None
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
        return sorted((run for run in runs if run.is_known), key=lambda run: run.submission["submitted_at"])

    @staticmethod
    def get_context() -> Any:
        """Inside a script: the run it belongs to; outside a run: an object that does nothing."""
        from airflow_provider.scriptrun.context import get_context

        return get_context()

    # What is known

    @property
    def is_known(self) -> bool:
        """Whether the workspace knows what was submitted under this id."""
        return self._submission_or_none() is not None

    @property
    def submission(self) -> Mapping[str, Any]:
        """What was submitted: configuration, snapshot, Git facts, handle. Raises :class:`RunNotFoundError`."""
        found = self._submission_or_none()
        if found is None:
            raise RunNotFoundError(f"The workspace {self.workspace.url} knows no run {self.id!r}")
        return found

    @property
    def record(self) -> dict[str, Any] | None:
        """The run record; ``None`` before the run was collected."""
        record: dict[str, Any] | None = self.workspace.objects.get_json(self._at(layout.RECORD))
        return record

    @property
    def log_uri(self) -> str:
        """Where the whole log is (or will be) in the workspace."""
        return self.workspace.objects.uri(self._at(layout.RUN_LOG))

    def get_status(self) -> str:
        """Return Azure's name of the status, asked from the target while the run is not over.

        Raises :class:`TargetError` when it cannot be asked.
        """
        return self._final_status_name() or self._ask_status().status.value

    def get_details(self) -> dict[str, Any]:
        """Return ids, status, times, target, error, properties, the configuration and where the log files are.

        The names are Azure ML's; times are ISO 8601 in UTC.
        """
        submission, record = self.submission, self.record
        if record is None:
            status = self._ask_status()
            record = make_record(self._parts(status, self.files(), Messages()))
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
            "logFiles": {
                file.path: self.workspace.objects.uri(self._at(file.path))
                for file in self.files()
                if _is_log(file.path)
            },
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
        own = self.workspace.objects.get_json(self._at(layout.TAGS)) or {}
        return {**self.submission["tags"], **self._messages().tags, **own}

    def tag(self, name: str, value: str | None = None) -> None:
        """Set a tag. Of two processes that do so at the same moment, one wins."""
        own = self.workspace.objects.get_json(self._at(layout.TAGS)) or {}
        self.workspace.objects.put_json(self._at(layout.TAGS), {**own, name: "" if value is None else str(value)})

    def files(self) -> Sequence[CollectedFile]:
        """Return the files that were collected, sorted by path."""
        return collected_files(self.workspace.objects, self._folder)

    def get_file_names(self) -> Sequence[str]:
        """Return the paths of the run's files: what was collected, or, before that, what the target has now."""
        if self._final_status_name() is None:
            return [file.path for file in check_files(self.target().files(self.id))]
        return [file.path for file in self.files()]

    # Copies of files

    def download_file(self, name: str, output_file_path: str | Path | None = None) -> Path:
        """Copy one collected file here, checked against its hash; by default under its own last name.

        Raises :class:`RunNotFoundError` for a file that the run has not.
        """
        files = {file.path: file for file in self.files()}
        if name not in files:
            raise RunNotFoundError(
                f"Run {self.id} has no file {name!r}", advice="get_file_names() lists them; collect() brings new ones"
            )
        path = Path(output_file_path) if output_file_path is not None else Path(Path(name).name)
        if path.is_dir():
            path = path / Path(name).name
        return self._copy(files[name], path)

    def download_files(self, prefix: str | None = None, output_directory: str | Path = ".") -> Sequence[Path]:
        """Copy the collected files whose path starts with ``prefix`` under a folder, with their paths."""
        wanted = [file for file in self.files() if file.path.startswith(prefix or "")]
        return [self._copy(file, Path(output_directory) / file.path) for file in wanted]

    def get_all_logs(self, destination: str | Path | None = None) -> Sequence[Path]:
        """Copy run.log, build.log and logs/ into a folder (default: one named after the run)."""
        folder = Path(destination) if destination is not None else Path(self.id)
        return [self._copy(file, folder / file.path) for file in self.files() if _is_log(file.path)]

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
        if self._final_status_name() is None:
            try:
                self.watch(reporter)
                self.collect(reporter=reporter)
            except KeyboardInterrupt:
                reporter.warning(
                    f"Run {self.id} goes on. run.cancel() ends it; "
                    f"Run.get(workspace, {self.id!r}).wait_for_completion() comes back to it."
                )
                raise
            finally:
                self.close()
        elif show_output:
            self._print_log(reporter)
        if raise_on_error:
            self.raise_for_status()
        return self.get_details()

    def watch(
        self, reporter: Reporter | None = None, *, should_stop: Callable[[], bool] | None = None
    ) -> RunStatus | None:
        """Follow the run to its end: its log to ``reporter.line``.

        It goes on where the last watcher of its lineage stopped. Returns the final status, or the latest one when
        ``should_stop()`` became true (asked at least every second).

        Raises :class:`RunFailedError` with reason ``unreachable`` when the lease has surely run out,
        :class:`TargetError` when the target cannot speak about the run.
        """
        from airflow_provider.scriptrun.targets.contract import Cursor

        settings = self._surroundings().settings
        reporter = reporter or Quiet()
        limits = self.submission["limits"]
        watch = Watch(
            target=self.target(),
            cursor=load_cursor(self._lineage, self.id) or Cursor(self.id),
            reporter=reporter,
            log_name=self.log_uri,
            log_cap_bytes=settings.task_log_cap_bytes,
            poll_wait_s=settings.poll_wait_seconds,
            orphan_after_s=limits["orphan_after_s"],
            grace_s=limits["grace_s"],
            should_stop=should_stop or (lambda: False),
            save=lambda cursor: save_cursor(self._lineage, cursor),
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
        from airflow_provider.scriptrun.runs.progress import Progress

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
        store = self.workspace.objects
        files = reach(
            reporter,
            lambda: collect(self.target(), self.id, store, self._folder, progress.reach),
            deadline=began + COLLECT_PATIENCE_SECONDS,
        )
        progress.finish()
        messages = self._messages()
        parts = self._parts(status, files, messages)
        parts["phases"]["collect"] = round(time.monotonic() - began, 3)
        record = make_record(parts, output_files=self._surroundings().settings.outputs_record_files)
        store.put_json(self._at(layout.STATUS), dict(status.document))
        store.put_json(self._at(layout.RECORD), record)
        crash_point(AFTER_COLLECT)
        if messages.bad_lines or messages.left_out:
            reporter.warning(
                f"{messages.bad_lines} lines of messages.jsonl are no messages, {messages.left_out} had one name too many."
            )
        return record

    def raise_for_status(self) -> None:
        """Raise the error of the tree that says how the run ended; nothing for Completed. Call after :meth:`collect`."""
        error = error_for(self._final(), self.id, self.log_uri)
        if error is not None:
            raise error

    def cancel(self, *, reason: Reason = Reason.CANCELED, wait_seconds: float | None = None) -> Status:
        """End the whole process tree; returns when everything of it is seen dead (or after ``wait_seconds``).

        A run that is over stays as it ended. :meth:`collect` brings what it left. Raises :class:`TargetError`.
        """
        wait_s = self.submission["limits"]["grace_s"] + CANCEL_MARGIN_SECONDS if wait_seconds is None else wait_seconds
        lineage = self.submission["handle"]["lineage"]
        self._status = self.target().cancel(self.id, lineage=lineage, reason=reason, wait_s=wait_s)
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
            from airflow_provider.scriptrun.targets.contract import Handle
            from airflow_provider.scriptrun.targets.registry import open_handle

            handle = Handle.from_document(self.submission["handle"])
            self._opened = open_handle(handle, self._surroundings())
        return self._opened

    def attach(self, target: ComputeTarget, restart: Callable[[], object] | None = None) -> None:
        """Use a target that is open already, and know how to ask for the run again if nobody started it."""
        self._opened, self._restart = target, restart

    # Inside

    def _at(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _surroundings(self) -> Surroundings:
        if self._known_surroundings is None:
            from airflow_provider.scriptrun.runs.surroundings import current

            self._known_surroundings = current()
        return self._known_surroundings

    def _submission_or_none(self) -> Mapping[str, Any] | None:
        if self._known_submission is None:
            self._known_submission = self.workspace.objects.get_json(self._at(layout.CONFIG))
        return self._known_submission

    def _final_status_name(self) -> str | None:
        record = self.record
        return None if record is None else str(record["status"])

    def _ask_status(self) -> RunStatus:
        from airflow_provider.scriptrun.errors import UnknownRunError

        status = self.target().status([self.id]).get(self.id)
        if status is None:
            raise UnknownRunError(
                f"The target {self.submission['target']['name']} knows no run {self.id}",
                why="it never started there, or was cleaned away long after its end",
            )
        self._status = status
        return status

    def _final(self) -> RunStatus:
        if self._status is not None and self._status.is_terminal:
            return self._status
        from airflow_provider.scriptrun.targets.parse import run_status

        document = self.workspace.objects.get_json(self._at(layout.STATUS))
        return self._ask_status() if document is None else run_status(document, self.id)

    def _messages(self, *, keep_series: bool = False) -> Messages:
        """Read metrics and tags: from the workspace when they were collected, else from the target."""
        from airflow_provider.scriptrun.targets.contract import Cursor, Stream

        messages = Messages(keep_series=keep_series)
        if any(file.path == layout.MESSAGES for file in self.files()):
            for piece in self.workspace.objects.read(self._at(layout.MESSAGES)):
                messages.feed(piece)
        elif self._final_status_name() is None:
            cursor = Cursor(self.id, offsets={Stream.MESSAGES: 0})
            while True:
                news = next(iter(self.target().poll([cursor], wait_s=0)), None)
                if news is None or not news.data(Stream.MESSAGES):
                    break
                messages.feed(news.data(Stream.MESSAGES))
                cursor = cursor.after(news)
        messages.finish()
        return messages

    def _parts(self, status: RunStatus, files: Sequence[CollectedFile], messages: Messages) -> dict[str, Any]:
        """Return the parts of the run record."""
        submission, uri = self.submission, self.workspace.objects.uri
        outputs = [file for file in files if file.path.startswith(f"{layout.OUTPUTS}/")]
        sizes = {file.path: file.size for file in files}
        environment = status.environment
        snapshot = submission["snapshot"]
        return {
            "run_id": self.id,
            "experiment": self.experiment,
            "status": status.status.value,
            "reason": status.reason.value if status.reason else None,
            "message": status.message,
            "target": {
                **{name: submission["target"][name] for name in ("name", "type")},
                "host": status.host.name if status.host else submission["target"]["host"],
            },
            "snapshot": {name: snapshot[name] for name in ("id", "files", "bytes", "sent_files", "sent_bytes")},
            "environment": {
                "name": submission["environment"]["name"],
                "id": environment.id if environment else None,
                "reused": environment.reused if environment else None,
                "python": environment.python if environment else None,
                "packages_uri": uri(self._at(layout.PACKAGES)) if layout.PACKAGES in sizes else None,
            },
            "git": {
                **{name: submission["git"][name] for name in ("commit", "branch", "repository", "dirty")},
                "patch_uri": uri(self._at(layout.PATCH)) if submission["git"]["has_patch"] else None,
            },
            "airflow": dict(submission["airflow"]),
            "command": [*(status.command or submission["command"])],
            "started_at": _iso(status.started_at),
            "ended_at": _iso(status.ended_at),
            "phases": {**submission["phases"], **{name: round(value, 3) for name, value in status.phases.items()}},
            "exit_code": status.exit_code,
            "signal": status.signal,
            "metrics": messages.last,
            "outputs": {
                "uri": uri(self._at(layout.OUTPUTS)),
                "count": len(outputs),
                "bytes": sum(file.size for file in outputs),
                "files": [
                    {"path": file.path.removeprefix(f"{layout.OUTPUTS}/"), "size": file.size, "sha256": file.sha256}
                    for file in outputs
                ],
            },
            "log": {"uri": self.log_uri, "bytes": sizes.get(layout.RUN_LOG)},
        }

    def _copy(self, file: CollectedFile, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name[:200]}.{time.time_ns():x}.incomplete")
        digest = hashlib.sha256()
        try:
            with beside.open("xb") as copy:
                for piece in self.workspace.objects.read(self._at(file.path)):
                    digest.update(piece)
                    copy.write(piece)
            if digest.hexdigest() != file.sha256:
                raise WorkspaceError(
                    f"{self.workspace.objects.uri(self._at(file.path))} is damaged", why="its sha256 is another one"
                )
            if file.executable:
                shutil.copymode(__file__, beside)
                beside.chmod(beside.stat().st_mode | 0o111)
            beside.replace(path)
        except OSError as error:
            raise WorkspaceError(f"{path} cannot be written", why=error.strerror) from error
        finally:
            beside.unlink(missing_ok=True)
        return path

    def _print_log(self, reporter: Reporter) -> None:
        from airflow_provider.scriptrun.runs.log_view import LogView

        view = LogView(reporter.line, whole=self.log_uri)
        for name in (layout.BUILD_LOG, layout.RUN_LOG):
            if self.workspace.objects.size(self._at(name)):
                for piece in self.workspace.objects.read(self._at(name)):
                    view.feed(piece)
                view.finish()


def _is_log(path: str) -> bool:
    return path in (layout.RUN_LOG, layout.BUILD_LOG) or path.startswith(f"{layout.LOGS}/")


def _series(values: Sequence[Any]) -> Any:
    if len(values) == 1:
        return values[0]
    if not all(isinstance(value, dict) for value in values):
        return [*values]
    columns = dict.fromkeys(name for row in values for name in row)
    return {name: [row.get(name) for row in values] for name in columns}


def _iso(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
