"""One execution of a script, seen from here: its status, metrics, log and files, in any process at any time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider.scriptrun.targets.contract import RunStatus

    from airflow_provider.scriptrun.runs.reporter import Reporter
    from airflow_provider.scriptrun.runs.workspace import Workspace
    from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status


class Run:
    """A run that was submitted. Azure ML's names and meanings, where it has them."""

    id: str
    experiment: str
    workspace: Workspace

    @classmethod
    def get(cls, workspace: Workspace, run_id: str) -> Run:
        """Open a run by its id, in whatever process. Raises :class:`RunNotFoundError`."""
        raise NotImplementedError

    @classmethod
    def from_record(cls, record: Mapping[str, Any], workspace: Workspace | None = None) -> Run:
        """Open the run that a run record (an XCom value) describes."""
        raise NotImplementedError

    @classmethod
    def list(cls, workspace: Workspace, experiment: str) -> list[Run]:
        """Return the experiment's runs, oldest first."""
        raise NotImplementedError

    @staticmethod
    def get_context() -> Any:
        """Inside a script: the run it belongs to; outside a run: an object that does nothing."""
        from airflow_provider.scriptrun.context import get_context

        return get_context()

    def get_status(self) -> str:
        """Return Azure's name of the status, asked from the target while the run is not over."""
        raise NotImplementedError

    def get_details(self) -> dict[str, Any]:
        """Return ids, status, times, target, error, properties, the configuration and where the log files are."""
        raise NotImplementedError

    def get_metrics(self, name: str | None = None) -> dict[str, Any]:
        """Return each metric: its value, or the list of its values where it was logged more than once."""
        raise NotImplementedError

    def get_file_names(self) -> list[str]:
        """Return the paths of what was collected."""
        raise NotImplementedError

    def download_file(self, name: str, output_file_path: str | Path | None = None) -> Path:
        """Copy one collected file here."""
        raise NotImplementedError

    def download_files(self, prefix: str | None = None, output_directory: str | Path = ".") -> list[Path]:
        """Copy the collected files whose path starts with ``prefix`` here."""
        raise NotImplementedError

    def get_all_logs(self, destination: str | Path | None = None) -> list[Path]:
        """Copy run.log, build.log and logs/ here."""
        raise NotImplementedError

    def wait_for_completion(self, show_output: bool = False, *, raise_on_error: bool = True) -> dict[str, Any]:
        """Watch to the end, collect, and return :meth:`get_details`. Interrupted, it leaves the run going."""
        raise NotImplementedError

    def watch(self, reporter: Reporter | None = None, *, should_stop: Callable[[], bool] | None = None) -> RunStatus:
        """Follow the run to its end: its log to ``reporter.line``; goes on where the last watcher of its lineage stopped.

        Returns the final status, or the latest one when ``should_stop()`` became true (asked at least every second).
        Raises :class:`RunFailedError` with reason ``unreachable`` when the lease has surely run out.
        """
        raise NotImplementedError

    def collect(self, *, reporter: Reporter | None = None) -> dict[str, Any]:
        """Fetch what the workspace lacks of outputs, logs and messages, write the run record, and return it (the XCom)."""
        raise NotImplementedError

    def raise_for_status(self) -> None:
        """Raise the error of the tree that says how the run ended; nothing for Completed. Call after :meth:`collect`."""
        raise NotImplementedError

    def cancel(self, *, reason: Reason | None = None, wait_seconds: float | None = None) -> Status:
        """End the whole process tree; returns when everything of it is seen dead (or after ``wait_seconds``)."""
        raise NotImplementedError

    def mark_delivered(self) -> None:
        """Say in the lineage store that the record has been handed over: the last act of a task."""
        raise NotImplementedError

    def restore_snapshot(self, destination: str | Path) -> Path:
        """Write the exact files that ran into an empty folder; every one is verified."""
        raise NotImplementedError

    def tag(self, name: str, value: str | None = None) -> None:
        """Set a tag."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection to the target, when there is one; the next call opens it again."""
        raise NotImplementedError
