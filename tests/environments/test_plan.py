"""A plan says all that a target needs, holds no secret and no path of this machine, and is the same everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider.scriptrun.config.environment import Environment
from airflow_provider.scriptrun.environments.plan import plan
from airflow_provider.scriptrun.environments.settings import EnvironmentSettings
from airflow_provider.scriptrun.errors import ConfigurationError
from airflow_provider.scriptrun.supervisor.environment.key import recipe_key
from airflow_provider.scriptrun.supervisor.environment.python import own_base


def planned(environment, folder=Path("/nowhere"), variables=None, **settings):
    return plan(environment, base_directory=folder, settings=EnvironmentSettings(**settings), variables=variables or {})


def key(document):
    return recipe_key(document, own_base())


def packages(*names, **more):
    return Environment(name="e", python={"conda_dependencies": {"pip_packages": list(names), **more}})


def test_no_environment_and_one_with_a_name_alone_are_the_default():
    assert planned(None).document["kind"] == "default"
    named = planned(Environment(name="mine"))
    assert (named.document["kind"], named.document["delivery"]["name"]) == ("default", "mine")
    assert key(named.document) == key(planned(None).document)


def test_a_user_managed_environment_carries_its_interpreter_alone():
    environment = Environment(
        name="mine", python={"user_managed_dependencies": True, "interpreter_path": "~/venv/bin/python"}
    )
    found = planned(environment, index_url="https://me:secret@mirror/simple")
    assert (found.document["kind"], found.document["interpreter"]) == ("user_managed", "~/venv/bin/python")
    assert found.secrets == {}


def test_a_requirements_file_is_read_relative_to_the_base_directory_with_all_it_names(tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "requirements.txt").write_text("-r base.txt\nattrs\n")
    (tmp_path / "training" / "base.txt").write_text("six\n")
    environment = Environment.from_pip_requirements("sklearn", "training/requirements.txt")
    found = planned(environment, tmp_path)
    assert (found.document["kind"], found.document["requirements"]) == ("pip", ["six", "attrs"])
    assert str(tmp_path) not in json.dumps(found.document)
    before = key(found.document)
    (tmp_path / "training" / "base.txt").write_text("six<2\n")
    assert key(planned(environment, tmp_path).document) != before


def test_packages_by_name_and_of_a_file_come_together(tmp_path):
    (tmp_path / "r.txt").write_text("attrs\n")
    environment = Environment(
        name="e",
        python={
            "conda_dependencies": {"pip_packages": ["six"], "pip_options": ["--pre"], "python_version": "3.11"},
            "requirements_file": "r.txt",
            "pip_version": "24.2",
        },
    )
    document = planned(environment, tmp_path).document
    assert document["requirements"] == ["six", "attrs", "pip==24.2"]
    assert document["options"]["pre"]
    assert (document["kind"], document["python"]) == ("pip", "==3.11.*")


def test_a_conda_specification_of_python_and_pip_alone_is_for_pip(tmp_path):
    (tmp_path / "conda.yml").write_text(
        "name: x\nchannels: [conda-forge]\nvariables: {A: 1}\n"
        "dependencies:\n- python=3.10\n- pip\n- pip:\n  - six\n  - -r more.txt\n"
    )
    (tmp_path / "more.txt").write_text("idna\n")
    document = planned(Environment.from_conda_specification("c", "conda.yml"), tmp_path).document
    assert (document["kind"], document["python"], document["conda"]) == ("pip", "==3.10.*", None)
    assert document["requirements"] == ["six", "idna"]
    assert document["delivery"]["variables"] == {"A": "1"}


def test_a_conda_specification_with_more_is_for_conda(tmp_path):
    (tmp_path / "conda.yml").write_text("channels: [conda-forge]\ndependencies:\n- python=3.10\n- gdal\n- pip: [six]\n")
    document = planned(Environment.from_conda_specification("c", "conda.yml"), tmp_path).document
    assert (document["kind"], document["requirements"]) == ("conda", ["six"])
    assert document["conda"] == {"channels": ["conda-forge"], "packages": ["python=3.10", "gdal"]}
    (tmp_path / "conda.yml").write_text("dependencies:\n- gdal\n- pip: [six, --pre]\n")
    with pytest.raises(ConfigurationError, match="cannot hold --pre"):
        planned(Environment.from_conda_specification("c", "conda.yml"), tmp_path)


def test_an_existing_conda_environment_is_named():
    document = planned(Environment.from_existing_conda_environment("c", "train")).document
    assert (document["kind"], document["conda"]) == ("existing_conda", {"environment": "train"})


def test_a_curated_environment_is_a_list_of_requirements():
    document = planned(Environment.get("scikit-learn")).document
    assert document["kind"] == "pip"
    assert any(line.startswith("scikit-learn") for line in document["requirements"])
    with pytest.raises(ConfigurationError, match="Did you mean scikit-learn"):
        planned(Environment.get("scikit-lern"))


def test_settings_add_their_indexes_and_a_requirements_file_wins(tmp_path):
    (tmp_path / "r.txt").write_text("--extra-index-url https://file/simple\nsix\n")
    environment = Environment.from_pip_requirements("e", "r.txt")
    settings = {"index_url": "https://ours/simple", "extra_index_urls": ("https://more/simple",)}
    index = planned(environment, tmp_path, **settings).document["index"]
    assert (index["url"], index["extra"]) == ("https://ours/simple", ["https://file/simple", "https://more/simple"])
    (tmp_path / "r.txt").write_text("-i https://file/simple\nsix\n")
    assert planned(environment, tmp_path, **settings).document["index"]["url"] == "https://file/simple"


words = st.text("abcXYZ019", min_size=4, max_size=12)


@given(words, words, words)
def test_credentials_never_stand_in_a_document_and_never_change_its_key(user, password, token):
    def of(index, url):
        return planned(packages("six", f"idna @ {url}"), index_url=index, extra_index_urls=(f"{index}/extra",))

    bare = of("https://mirror.example/simple", "https://host.example/idna-3.0-py3-none-any.whl")
    secret = of(
        f"https://{user}:q{password}q@mirror.example/simple",
        f"https://host.example/idna-3.0-py3-none-any.whl?sig=q{token}q",
    )
    assert f"q{password}q" not in json.dumps(secret.document)
    assert f"q{token}q" not in json.dumps(secret.document)
    assert f"q{password}q" in secret.confidential
    assert f"{user}:q{password}q" in secret.secrets.values()
    assert key(secret.document) == key(bare.document)
    assert f"q{password}q" not in repr(secret)


def test_a_variable_in_an_address_is_taken_from_where_the_task_runs(tmp_path):
    (tmp_path / "r.txt").write_text("-i https://${TOKEN}@mirror/simple\nsix\n")
    environment = Environment.from_pip_requirements("e", "r.txt")
    found = planned(environment, tmp_path, {"TOKEN": "t0k3n"})
    assert "t0k3n" in found.secrets.values()
    assert "t0k3n" not in json.dumps(found.document)
    with pytest.raises(ConfigurationError, match=r"r\.txt, line 1: the variable TOKEN is not set"):
        planned(environment, tmp_path)


def test_a_ca_file_travels_and_changes_no_key(tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_text("-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n")
    with_ca = planned(packages("six"), ca_file=ca)
    assert with_ca.document["delivery"]["ca"] == ca.read_text()
    assert key(with_ca.document) == key(planned(packages("six")).document)
    ca.write_text("nothing")
    with pytest.raises(ConfigurationError, match=f"^The ca_file {ca} holds no certificate"):
        planned(packages("six"), ca_file=ca)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        planned(packages("six"), ca_file=tmp_path / "none.pem")


def test_name_variables_age_and_refresh_change_no_key_and_everything_else_does():
    base = planned(packages("six"))
    same = [
        planned(packages("six"), lock_max_age_s=1.0, refresh=True),
        planned(Environment(name="other", python={"conda_dependencies": {"pip_packages": ["six"]}})),
    ]
    others = [
        planned(packages("six", "idna")),
        planned(packages("six<2")),
        planned(packages("six", python_version="3.12")),
        planned(packages("six", pip_options=["--pre"])),
        planned(packages("six"), index_url="https://mirror/simple"),
        planned(packages("six"), extra_index_urls=("https://a", "https://b")),
        planned(packages("six"), extra_index_urls=("https://b", "https://a")),
    ]
    assert {key(one.document) for one in same} == {key(base.document)}
    assert len({key(one.document) for one in [base, *others]}) == len(others) + 1


def test_a_document_is_plain_json():
    found = planned(packages("six"), index_url="https://me:pw12@mirror/simple").document
    assert json.loads(json.dumps(found)) == found
