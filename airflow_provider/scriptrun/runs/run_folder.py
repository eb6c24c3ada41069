"""Everything of one run in a workspace: what was submitted, what happened, and the files that came back."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import RunNotFoundError, WorkspaceError
from airflow_provider.scriptrun.runs import workspace_layout as layout
from airflow_provider.scriptrun.runs.collect import CollectedFile, collected_files
from airflow_provider.scriptrun.runs.metrics import Messages
from airflow_provider.scriptrun.supervisor.protocol.atomic import AtomicFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from airflow_provider.scriptrun.runs.workspace import Workspace

#: As for any new file of a person's: less the umask.
FILE_MODE, EXECUTABLE_MODE = 0o666, 0o777


class RunFolder:
    """``experiments/<experiment>/<run id>/`` of a workspace."""

    def __init__(self, workspace: Workspace, experiment: str, run_id: str) -> None:
        self.workspace, self.run_id = workspace, run_id
        self.objects = workspace.objects
        self.name = layout.run_folder(experiment, run_id)

    def at(self, name: str) -> str:
        """Return the object that holds something of the run."""
        return f"{self.name}/{name}"

    def uri(self, name: str) -> str:
        """Return where that is, for a person or another program."""
        return self.objects.uri(self.at(name))

    # Documents

    @cached_property
    def submission(self) -> Mapping[str, Any]:
        """What was submitted. Raises :class:`RunNotFoundError`."""
        found = self.objects.get_json(self.at(layout.CONFIG))
        if found is None:
            raise RunNotFoundError(f"The workspace {self.workspace.url} knows no run {self.run_id!r}")
        submission: Mapping[str, Any] = found
        return submission

    def put_submission(self, document: Mapping[str, Any]) -> None:
        """Write what was submitted."""
        self.objects.put_json(self.at(layout.CONFIG), document)
        self.__dict__["submission"] = document

    def is_known(self) -> bool:
        """Whether anything was submitted under this id."""
        return "submission" in self.__dict__ or self.objects.size(self.at(layout.CONFIG)) is not None

    def withdraw(self) -> None:
        """Forget a submission that became no run."""
        self.__dict__.pop("submission", None)
        for name in (layout.PATCH, layout.CONFIG):
            self.objects.remove(self.at(name))

    @property
    def record(self) -> dict[str, Any] | None:
        """The run record; ``None`` before the run was collected."""
        record: dict[str, Any] | None = self.objects.get_json(self.at(layout.RECORD))
        return record

    @property
    def status_document(self) -> Mapping[str, Any] | None:
        """The target's own words about the end; ``None`` before the run was collected."""
        document: Mapping[str, Any] | None = self.objects.get_json(self.at(layout.STATUS))
        return document

    def put_record(self, record: Mapping[str, Any], status_document: Mapping[str, Any]) -> None:
        """Write what happened; the record comes last, and with it the run counts as collected."""
        self.objects.put_json(self.at(layout.STATUS), dict(status_document))
        self.objects.put_json(self.at(layout.RECORD), dict(record))

    @property
    def own_tags(self) -> dict[str, str]:
        """The tags that were set from outside of the run."""
        return self.objects.get_json(self.at(layout.TAGS)) or {}

    def put_tag(self, name: str, value: str) -> None:
        """Set a tag. Of two processes that do so at the same moment, one wins."""
        self.objects.put_json(self.at(layout.TAGS), {**self.own_tags, name: value})

    # Files

    def files(self) -> list[CollectedFile]:
        """Return the files that were collected, sorted by path."""
        return collected_files(self.objects, self.name)

    def file(self, name: str) -> CollectedFile:
        """Return one of them. Raises :class:`RunNotFoundError`."""
        for file in self.files():
            if file.path == name:
                return file
        raise RunNotFoundError(
            f"Run {self.run_id} has no file {name!r}", advice="get_file_names() lists them; collect() brings new ones"
        )

    def read(self, name: str) -> Iterator[bytes]:
        """Yield a file's bytes in pieces."""
        return self.objects.read(self.at(name))

    def messages(self, *, keep_series: bool = False) -> Messages | None:
        """Return the metrics and tags that were collected; ``None`` when there are none here."""
        if self.objects.size(self.at(layout.MESSAGES)) is None:
            return None
        messages = Messages(keep_series=keep_series)
        for piece in self.read(layout.MESSAGES):
            messages.feed(piece)
        messages.finish()
        return messages

    def copy(self, file: CollectedFile, path: Path) -> Path:
        """Write a file to a path here, whole or not at all, checked by its hash. Raises :class:`WorkspaceError`."""
        digest = hashlib.sha256()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with AtomicFile(str(path), mode=EXECUTABLE_MODE if file.executable else FILE_MODE) as copy:
                for piece in self.read(file.path):
                    digest.update(piece)
                    copy.write(piece)
                if digest.hexdigest() != file.sha256:
                    raise WorkspaceError(f"{self.uri(file.path)} is damaged", why="its sha256 is another one")
        except OSError as error:
            raise WorkspaceError(f"{path} cannot be written", why=error.strerror) from error
        return path
