"""The buttons of a task: its run's folder, and the commit that ran. Shown as soon as the run was accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow_provider.scriptrun.runs.run import Run


class _PushedLink(BaseOperatorLink):
    """A link that the task pushes itself, right after it submitted; at its end Airflow asks for the same one again."""

    def push(self, ti: Any, url: str) -> None:
        """Show the link from now on."""
        ti.task.shown_links[self.xcom_key] = url
        ti.xcom_push(self.xcom_key, url)

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002  # the operator is the task's own
        """Return what was pushed; nothing before that."""
        shown: dict[str, str] = getattr(operator, "shown_links", {})
        return shown.get(self.xcom_key, "")


class RunFolderLink(_PushedLink):
    """The run's folder in the workspace, where a browser can show it: log, metrics, outputs."""

    name = "Run folder"


class CommitLink(_PushedLink):
    """The commit that ran, where its Git server shows it."""

    name = "Commit"


def push_links(run: Run, ti: Any, workspace_page: str) -> None:
    """Show the links of a run on its task.

    :param workspace_page: where a browser finds the workspace, if a person says so.
    """
    from airflow_provider.scriptrun.links.addresses import commit_url, folder_url

    page = workspace_page and f"{workspace_page.rstrip('/')}/{run.folder.name}/"
    if url := folder_url(run.folder.uri("").rstrip("/"), page):
        RunFolderLink().push(ti, url)
    git = run.submission["git"]
    if url := commit_url(git.get("repository"), git.get("commit")):
        CommitLink().push(ti, url)
