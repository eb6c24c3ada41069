"""The buttons of a task: its run's folder, and the commit that ran. Shown as soon as the run was accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow_provider.scriptrun.runs.run import Run


class _PushedLink(BaseOperatorLink):
    """A link that the task pushes itself, right after it submitted.

    Airflow asks for it at the end of each process of a try, however that ends, and stores the answer over what was
    pushed. Both pass by a custom XCom backend, whose references no browser could follow.
    """

    def push(self, ti: Any, url: str) -> None:
        """Show the link from now on."""
        from airflow.sdk import BaseXCom

        BaseXCom.set(self.xcom_key, url, dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return what this process showed; of a resumed task that did not get so far, what the one before it did."""
        from airflow.sdk import BaseXCom

        shown: dict[str, str] | None = operator.shown_links
        if shown is not None:
            return shown.get(self.xcom_key, "")
        return BaseXCom.get_value(ti_key=ti_key, key=self.xcom_key) or ""


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
    git = run.submission["git"]
    links = (
        (RunFolderLink(), folder_url(run.folder.uri("").rstrip("/"), page)),
        (CommitLink(), commit_url(git.get("repository"), git.get("commit"))),
    )
    ti.task.shown_links = {link.xcom_key: url for link, url in links if url}
    for link, url in links:
        if url:
            link.push(ti, url)
