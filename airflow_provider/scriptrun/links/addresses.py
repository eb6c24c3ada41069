"""Where a browser shows a commit, and a folder of object storage: pure functions, no network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

#: Where the pages are of servers that take SSH under another name.
_WEB_HOSTS = {
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
    "ssh.dev.azure.com": "dev.azure.com",
    "vs-ssh.visualstudio.com": "dev.azure.com",
}
#: These take SSH where only HTTPS passes, also as ``git@ssh.github.com:443/team/code.git``.
_HTTPS_PORT = "443/"
_AZURE_SSH = re.compile(r"v3/([^/]+)/([^/]+)/([^/]+)")
#: Bitbucket Data Center: ``/scm/prj/code`` over HTTPS, below whatever its context path is, and ``/prj/code`` over SSH.
_DATA_CENTER = re.compile(r"((?:.+/)?)scm/([^/]+)/([^/]+)")
_DATA_CENTER_SSH = re.compile(r"()([^/]+)/([^/]+)")
_DATA_CENTER_SSH_PORT = 7999
#: ``git@github.com:team/code.git``, which is no URL.
_SCP = re.compile(r"(?:[^@/:]+@)?([^/:]+):(?!//)(.+)")
_HOST = re.compile(r"[\w.-]+|\[[0-9a-f:.]+\]")
#: What stays as it is in the address that a person gave.
_IN_A_PAGE = ":/?#[]@!$&'()*+,;=%~"
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


def commit_url(repository: str | None, commit: str | None) -> str | None:
    """Return the page of a commit on GitHub, GitLab, Bitbucket or Azure DevOps; ``None`` where there can be none.

    :param repository: a remote as Git has it, ``https``, ``ssh`` or ``git@host:path``; its credentials are left out.
    """
    if not repository or not commit or not _COMMIT.fullmatch(commit):
        return None
    remote = _Remote.parse(repository)
    page = remote and remote.page()
    return f"{page}/{commit}" if page else None


@dataclass(frozen=True)
class _Remote:
    """A repository on a Git server."""

    host: str  #: of its pages
    path: str  #: not quoted, without ``.git``
    web: str | None = None  #: scheme and port of its pages, where Git uses the same; ``None``: SSH or Git's own
    port: int | None = None

    @classmethod
    def parse(cls, repository: str) -> _Remote | None:
        """Return what a remote is; ``None`` for a folder of this machine, or what nobody can read."""
        scp = _SCP.fullmatch(repository)
        scheme, port = "ssh", None
        if "://" in repository:
            try:
                url = urlsplit(repository)
                port = url.port
            except ValueError:  # a port or an IPv6 address that is none
                return None
            scheme, host, path = url.scheme, url.hostname or "", url.path
            host = f"[{host}]" if ":" in host else host
        elif scp is not None:
            host, path = scp[1].lower(), scp[2]
        else:
            return None
        if scheme not in ("http", "https", "ssh", "git", "git+ssh") or not _HOST.fullmatch(host):
            return None
        if host in _WEB_HOSTS:
            host, path = _WEB_HOSTS[host], path.removeprefix(_HTTPS_PORT)
        path = unquote(path).strip("/").removesuffix(".git")
        return cls(host, path, scheme if scheme in ("http", "https") else None, port) if path else None

    def page(self) -> str | None:
        """Return where the pages of its commits are."""
        path, commits = self.path, "commit"
        if self.host == "dev.azure.com" and self.web is None:
            azure = _AZURE_SSH.fullmatch(path)
            if azure is None:
                return None
            path = "{}/{}/_git/{}".format(*azure.groups())
        elif "gitlab" in self.host:
            commits = "-/commit"
        elif self.host == "bitbucket.org":
            commits = "commits"
        elif data_center := self._in_data_center():
            context, project, name = data_center.groups()
            owner = f"users/{project[1:]}" if project.startswith("~") else f"projects/{project.upper()}"
            path, commits = f"{context}{owner}/repos/{name}", "commits"
        host = f"{self.host}:{self.port}" if self.web and self.port else self.host
        return f"{self.web or 'https'}://{host}/{quote(path)}/{commits}"

    def _in_data_center(self) -> re.Match[str] | None:
        if self.web:
            return _DATA_CENTER.fullmatch(self.path)
        if self.port == _DATA_CENTER_SSH_PORT or "bitbucket" in self.host:
            return _DATA_CENTER_SSH.fullmatch(self.path)
        return None


def folder_url(uri: str, page: str = "") -> str | None:
    """Return where a browser shows a folder; ``None`` where it cannot: Airflow shows no link but to the web.

    :param page: where that is, if a person says so. Otherwise it is the console of S3 or Google Cloud Storage.
    """
    if page:
        return quote(page, safe=_IN_A_PAGE)
    kind, _, rest = uri.partition("://")
    bucket, _, prefix = rest.partition("/")
    if kind in ("s3", "s3a"):
        return f"https://s3.console.aws.amazon.com/s3/buckets/{quote(bucket)}?prefix={quote(prefix.rstrip('/'))}/"
    if kind in ("gs", "gcs"):
        return f"https://console.cloud.google.com/storage/browser/{quote(bucket)}/{quote(prefix)}"
    return uri if kind in ("http", "https") else None
