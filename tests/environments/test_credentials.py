"""Credentials leave the address they stand in, and what stays does not depend on them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider.scriptrun.environments import requirements_file
from airflow_provider.scriptrun.environments.credentials import Vault
from airflow_provider.scriptrun.environments.requirements_file import Requirements

words = st.text("abcXYZ019-._~", min_size=1, max_size=12)


def take(url, **variables):
    vault = Vault(variables)
    return vault.take(url), vault


def test_a_password_in_an_address_is_kept_apart():
    clean, vault = take("https://me:secret@mirror:8080/simple/")
    assert clean == "https://mirror:8080/simple/"
    (name,) = vault.secrets
    assert vault.secrets == {name: "me:secret"}
    assert vault.urls == {clean: {"user": name}}


def test_a_token_in_place_of_a_user_is_a_credential_and_the_user_of_ssh_is_none():
    assert take("https://token@host/simple")[0] == "https://host/simple"
    clean, vault = take("git+ssh://git@host/repo.git@v1")
    assert clean == "git+ssh://git@host/repo.git@v1"
    assert vault.secrets == {}


def test_a_shared_access_signature_is_a_credential_and_other_queries_are_not():
    clean, vault = take("https://account/wheels/six.whl?sv=2022&sig=abc%3D&se=2027#sha256=1")
    assert clean == "https://account/wheels/six.whl#sha256=1"
    assert list(vault.secrets.values()) == ["sv=2022&sig=abc%3D&se=2027"]
    assert list(vault.urls) == ["https://account/wheels/six.whl"]
    assert take("https://host/get?file=six.whl")[0] == "https://host/get?file=six.whl"


def test_the_credentials_of_a_git_repository_go_to_git():
    clean, vault = take("git+https://tok@host/team/repo.git@v1.0#egg=x")
    assert clean == "git+https://host/team/repo.git@v1.0#egg=x"
    assert vault.urls == {}
    (name,) = vault.secrets
    assert vault.repositories == {"https://host/team/repo.git": name}


def test_variables_are_looked_up_here_and_travel_as_secrets():
    clean, vault = take("https://${USER_NAME}:${TOKEN}@host/simple", USER_NAME="me", TOKEN="t0k3n")
    assert clean == "https://host/simple"
    assert "me:t0k3n" in vault.secrets.values()
    clean, vault = take("https://host/${TEAM}/simple", TEAM="blue")
    assert (clean, vault.secrets) == ("https://host/${TEAM}/simple", {"TEAM": "blue"})
    with pytest.raises(KeyError, match="TOKEN"):
        take("https://${TOKEN}@host/simple")


@given(
    words, words, words, st.sampled_from(["https", "http"]), st.sampled_from(["sig", "access_token", "X-Amz-Signature"])
)
def test_what_stays_is_the_same_with_any_credentials_and_with_none(host, user, password, scheme, parameter):
    bare = take(f"{scheme}://{host}.example/simple/x.whl")[0]
    clean, vault = take(f"{scheme}://{user}:{password}@{host}.example/simple/x.whl?{parameter}={password}")
    assert clean == bare
    other = take(f"{scheme}://other@{host}.example/simple/x.whl?{parameter}=other")[1]
    assert vault.urls == other.urls
    assert vault.secrets.keys() == other.secrets.keys()


def test_a_requirement_line_keeps_its_marker_when_it_loses_its_password(tmp_path):
    found, vault = Requirements(), Vault({})
    requirements_file.add(["six @ https://me:pw@host/six.whl ; python_version > '3'"], tmp_path / "x", found, vault)
    assert found.lines == ["six @ https://host/six.whl ; python_version > '3'"]
    assert list(vault.secrets.values()) == ["me:pw"]
