"""Where a browser shows what ran."""

from __future__ import annotations

import pytest

from airflow_provider.scriptrun.links.addresses import commit_url, folder_url

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("repository", "page"),
    [
        ("https://github.com/team/code.git", "https://github.com/team/code/commit/{}"),
        ("https://user:secret@github.com/team/code", "https://github.com/team/code/commit/{}"),
        ("git@github.com:team/code.git", "https://github.com/team/code/commit/{}"),
        ("ssh://git@github.com:22/team/code.git", "https://github.com/team/code/commit/{}"),
        ("https://gitlab.com/group/sub/code.git", "https://gitlab.com/group/sub/code/-/commit/{}"),
        ("git@gitlab.example.com:group/code.git", "https://gitlab.example.com/group/code/-/commit/{}"),
        ("git@bitbucket.org:team/code.git", "https://bitbucket.org/team/code/commits/{}"),
        ("https://org@dev.azure.com/org/project/_git/code", "https://dev.azure.com/org/project/_git/code/commit/{}"),
        ("git@ssh.dev.azure.com:v3/org/project/code", "https://dev.azure.com/org/project/_git/code/commit/{}"),
        ("https://git.example.com/team/code.git", "https://git.example.com/team/code/commit/{}"),
        ("http://git.example.com:3000/team/code.git", "http://git.example.com:3000/team/code/commit/{}"),
        ("https://gitlab.example.com:8443/team/code", "https://gitlab.example.com:8443/team/code/-/commit/{}"),
        ("ssh://git@gitlab.example.com:2222/team/code", "https://gitlab.example.com/team/code/-/commit/{}"),
        ("https://[::1]:8443/team/code", "https://[::1]:8443/team/code/commit/{}"),
        (
            "https://dev.azure.com/org/my%20project/_git/code",
            "https://dev.azure.com/org/my%20project/_git/code/commit/{}",
        ),
        (
            "git@ssh.dev.azure.com:v3/org/my%20project/code",
            "https://dev.azure.com/org/my%20project/_git/code/commit/{}",
        ),
        ("https://git.example.com/team/a b", "https://git.example.com/team/a%20b/commit/{}"),
        ("git@ssh.github.com:443/team/code.git", "https://github.com/team/code/commit/{}"),
        ("ssh://git@ssh.github.com:443/team/code.git", "https://github.com/team/code/commit/{}"),
        ("git@github.com:443/code.git", "https://github.com/443/code/commit/{}"),
        ("ssh://git@altssh.gitlab.com:443/group/sub/code.git", "https://gitlab.com/group/sub/code/-/commit/{}"),
        ("git@altssh.gitlab.com:443/group/code.git", "https://gitlab.com/group/code/-/commit/{}"),
        ("ssh://git@altssh.bitbucket.org:443/team/code.git", "https://bitbucket.org/team/code/commits/{}"),
        ("https://host/scm/prj/code.git", "https://host/projects/PRJ/repos/code/commits/{}"),
        ("https://me@host:8443/bb/scm/prj/code.git", "https://host:8443/bb/projects/PRJ/repos/code/commits/{}"),
        ("https://host/scm/~me/code.git", "https://host/users/me/repos/code/commits/{}"),
        ("ssh://git@host:7999/prj/code.git", "https://host/projects/PRJ/repos/code/commits/{}"),
        ("ssh://git@host:7999/~me/code.git", "https://host/users/me/repos/code/commits/{}"),
        ("git@bitbucket.example.com:prj/code.git", "https://bitbucket.example.com/projects/PRJ/repos/code/commits/{}"),
        ("https://gitlab.com/scm/prj/code.git", "https://gitlab.com/scm/prj/code/-/commit/{}"),
    ],
)
def test_a_commit_has_a_page_on_its_server(repository: str, page: str) -> None:
    assert commit_url(repository, COMMIT) == page.format(COMMIT)


@pytest.mark.parametrize(
    ("repository", "commit"),
    [
        (None, COMMIT),
        ("https://github.com/team/code", None),
        ("https://github.com/team/code", "javascript:alert(1)"),
        ("/srv/git/code.git", COMMIT),
        ("file:///srv/git/code.git", COMMIT),
        ("javascript:alert(1)//x", COMMIT),
        ("https://github.com", COMMIT),
        ("git@ssh.dev.azure.com:odd", COMMIT),
        ("https://git.example.com:port/team/code", COMMIT),
        ("https://[::1/team/code", COMMIT),
        ("me@git?.example.com:team/code", COMMIT),
    ],
)
def test_what_no_server_shows_has_no_page(repository: str | None, commit: str | None) -> None:
    found = commit_url(repository, commit)
    assert found is None or found.startswith("https://")


@pytest.mark.parametrize(
    ("uri", "page"),
    [
        ("s3://bucket/a/b c", "https://s3.console.aws.amazon.com/s3/buckets/bucket?prefix=a/b%20c/"),
        ("gs://bucket/a/b", "https://console.cloud.google.com/storage/browser/bucket/a/b"),
        ("https://files.example.com/a", "https://files.example.com/a"),
        ("/srv/workspace/a b", None),
        ("abfs://container@account/a", None),
    ],
)
def test_a_folder_is_shown_where_its_storage_has_a_console(uri: str, page: str | None) -> None:
    assert folder_url(uri) == page


@pytest.mark.parametrize("uri", ["/srv/workspace/a", "s3://bucket/a"])
def test_a_folder_is_shown_where_a_person_says(uri: str) -> None:
    page = "https://files.example.com:8443/browse?at=work/a b/"
    assert folder_url(uri, page) == "https://files.example.com:8443/browse?at=work/a%20b/"
