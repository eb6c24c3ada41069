"""A conda specification of only python and pip needs no conda; the others say what they need."""

from __future__ import annotations

import pytest

from airflow_provider.scriptrun.environments import conda_specification, curated
from airflow_provider.scriptrun.errors import ConfigurationError


def parse(*dependencies, **keys):
    return conda_specification.parse({"dependencies": list(dependencies), **keys}, "environment.yml")


@pytest.mark.parametrize(
    ("dependency", "python"),
    [
        ("python", None),
        ("python=3.10", "==3.10.*"),
        ("python=3", "==3.*"),
        ("python=3.10.4", "==3.10.4"),
        ("python==3.10.4", "==3.10.4"),
        ("python=3.10.*", "==3.10.*"),
        ("python 3.10", "==3.10.*"),
        ("python>=3.9,<3.12", ">=3.9,<3.12"),
        ("python >=3.9, <3.12", ">=3.9,<3.12"),
        ("conda-forge::python=3.11", "==3.11.*"),
    ],
)
def test_the_python_of_a_specification_becomes_a_version_that_pip_understands(dependency, python):
    found = parse(dependency, "pip", {"pip": ["six"]})
    assert (found.python, found.needs_conda, found.pip) == (python, False, ["six"])


@pytest.mark.parametrize("dependency", ["gdal", "python=3.10=h12debd9_1", "numpy>=1.2", "python=3.9|3.10", "pip=23=py"])
def test_anything_else_needs_conda(dependency):
    assert parse("python=3.10", dependency).needs_conda


def test_a_pinned_pip_is_remembered():
    assert parse("python", "pip=23.1").pip_version == "==23.1.*"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "a mapping"),
        ({"dependancies": []}, "Did you mean dependencies"),
        ({"dependencies": "python"}, "must be a list"),
        ({"dependencies": [3]}, "no dependency"),
        ({"dependencies": [{"npm": []}]}, "no section 'npm'"),
        ({"dependencies": [{"pip": ["six", 3]}]}, "must be a text"),
        ({"channels": ["https://me:secret@host/channel"]}, "holds credentials"),
        ({"channels": ["https://host/t/to-ken/channel"]}, "holds credentials"),
        ({"variables": ["A=1"]}, "must be a mapping"),
    ],
)
def test_what_conda_would_not_understand_is_refused_by_name(content, said):
    with pytest.raises(ConfigurationError, match=said) as caught:
        conda_specification.parse(content, "environment.yml")
    assert "environment.yml" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "to-ken" not in str(caught.value)


def test_a_file_that_is_missing_or_no_yaml_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no conda specification .*none\.yml\. A relative path starts"):
        conda_specification.read(tmp_path / "none.yml")
    (tmp_path / "bad.yml").write_text("a: [")
    with pytest.raises(ConfigurationError, match=r"bad\.yml is no YAML: line 1, column 5: [^\n]*$"):
        conda_specification.read(tmp_path / "bad.yml")


def test_every_curated_environment_is_made_of_bounded_requirements_and_names_no_index():
    from packaging.requirements import Requirement

    assert {"scikit-learn", "tabular", "boosting", "pytorch"} <= set(curated.names())
    for name in curated.names():
        lines = curated.get(name)
        assert lines == sorted(lines)
        assert all(Requirement(line).specifier for line in lines)


def test_an_unknown_curated_name_gets_the_closest_one():
    with pytest.raises(ConfigurationError, match="Did you mean scikit-learn"):
        curated.get("sklearn")
