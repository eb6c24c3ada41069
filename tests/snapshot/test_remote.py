"""No form of a remote's URL lets a password or a token through."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider.scriptrun.snapshot.remote import without_credentials


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://example.org/a/b.git", "https://example.org/a/b.git"),
        ("https://example.org:8443/a/b.git", "https://example.org:8443/a/b.git"),
        ("https://[::1]:8443/a", "https://[::1]:8443/a"),
        ("https://user@example.org/a", "https://example.org/a"),
        ("https://SECRET@example.org/a", "https://example.org/a"),
        ("https://user:SECRET@example.org/a", "https://example.org/a"),
        ("https://user:SEC@RET@example.org/a", "https://example.org/a"),
        ("https://user:SEC/RET@example.org/a", "https://example.org/a"),
        ("https://user:SEC?RET@example.org/a", "https://example.org/a"),
        ("https://user:SEC#RET@example.org/a", "https://example.org/a"),
        ("https://:SECRET@example.org/a", "https://example.org/a"),
        ("HTTPS://user:SECRET@example.org/a", "HTTPS://example.org/a"),
        ("https://example.org/a?private_token=SECRET", "https://example.org/a"),
        ("https://example.org/a#SECRET", "https://example.org/a"),
        ("https://user:SECRET", "https://"),
        ("ssh://git@example.org:22/a", "ssh://git@example.org:22/a"),
        ("ssh://git:SECRET@example.org/a", "ssh://git@example.org/a"),
        ("ssh://user:123/SECRET@example.org/a", "ssh://example.org/a"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("git@example.org:a@b:c", "git@example.org:a@b:c"),
        ("example.org:a/b.git", "example.org:a/b.git"),
        ("user:SECRET@example.org:a/b.git", "example.org:a/b.git"),
        ("https:user:SECRET@example.org/a", "example.org/a"),
        ("//user:SECRET@example.org/a", "example.org/a"),
        ("/srv/git/a.git", "/srv/git/a.git"),
        ("../a.git", "../a.git"),
        ("file:///srv/git/a.git", "file:///srv/git/a.git"),
        ("git://example.org/a", "git://example.org/a"),
        ("codecommit::eu-west-1://profile@a", "codecommit::eu-west-1://a"),
        ("ext::ssh -o SECRET host %S", "ext::"),
        (" https://user:SECRET@example.org/a\n", "https://example.org/a"),
        ("", ""),
    ],
)
def test_a_url_is_told_as(url, told):
    assert without_credentials(url) == told


secret = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8).map(lambda text: f"S3CR{text}3T")


@given(st.sampled_from(["https", "http", "ftp", "HTTPS", "ssh", "git+ssh"]), secret)
@example("https", "S3CR/@3T")
@example("https", "S3CR:1/3T")
@example("https", "S3CR/3T:8443")
def test_a_password_never_shows(scheme, password):
    told = without_credentials(f"{scheme}://user:{password}@example.org/team/code.git")
    assert "S3CR" not in told
    assert "3T" not in told


@given(st.sampled_from(["https", "http"]), secret)
def test_a_token_in_place_of_the_user_never_shows(scheme, token):
    told = without_credentials(f"{scheme}://{token}@example.org/team/code.git")
    assert "S3CR" not in told
    assert "3T" not in told
