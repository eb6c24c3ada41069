"""Where a browser shows a commit, and a folder of object storage: pure functions, no network."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

#: What a Git server calls a commit's page, by the last parts of its host's name; GitHub's way where nothing is known.
_PAGES = {
    "gitlab": "{repository}/-/commit/{commit}",
    "bitbucket": "{repository}/commits/{commit}",
}
_GITHUB = "{repository}/commit/{commit}"
_AZURE_SSH = re.compile(r"v3/([^/]+)/([^/]+)/([^/]+)")
#: ``git@github.com:team/code.git``, which is no URL.
_SCP = re.compile(r"(?:[^@/:]+@)?([^/:]+):(?!//)(.+)")
#: What stays as it is in the address that a person gave.
_IN_A_PAGE = ":/?#[]@!$&'()*+,;=%~"
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


def commit_url(repository: str | None, commit: str | None) -> str | None:
    """Return the page of a commit on GitHub, GitLab, Bitbucket or Azure DevOps; ``None`` where there can be none.

    :param repository: a remote as Git has it, ``https``, ``ssh`` or ``git@host:path``; its credentials are left out.
    """
    if not repository or not commit or not _COMMIT.fullmatch(commit):
        return None
    found = _host_and_path(repository)
    if found is None:
        return None
    host, path = found
    if host in ("ssh.dev.azure.com", "vs-ssh.visualstudio.com"):
        azure = _AZURE_SSH.fullmatch(path)
        if azure is None:
            return None
        organisation, project, name = azure.groups()
        host, path = "dev.azure.com", f"{organisation}/{project}/_git/{name}"
    page = next((page for word, page in _PAGES.items() if word in host), _GITHUB)
    return page.format(repository=f"https://{host}/{quote(path)}", commit=commit)


def _host_and_path(repository: str) -> tuple[str, str] | None:
    """Return the host and the path without ``.git`` of a remote; ``None`` for a folder of this machine."""
    scp = _SCP.fullmatch(repository)
    if "://" in repository:
        url = urlsplit(repository)
        if url.scheme not in ("http", "https", "ssh", "git", "git+ssh") or not url.hostname:
            return None
        host, path = url.hostname, url.path
    elif scp is not None:
        host, path = scp.groups()
    else:
        return None
    path = path.strip("/").removesuffix(".git")
    return (host.lower(), path) if path else None


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
