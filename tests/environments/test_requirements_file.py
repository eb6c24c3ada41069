"""Requirements files are read as pip reads them; what a target could not follow is refused with file and line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider.scriptrun.environments import requirements_file
from airflow_provider.scriptrun.environments.credentials import Vault
from airflow_provider.scriptrun.environments.requirements_file import Requirements, logical_lines
from airflow_provider.scriptrun.errors import ConfigurationError


def read(folder, text, variables=None, **others):
    """Read ``text`` as a file in ``folder``, beside the files ``others`` (name without .txt -> text)."""
    for name, content in others.items():
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    path = folder / "requirements.txt"
    path.write_text(text)
    found, vault = Requirements(), Vault(variables or {})
    requirements_file.read(path, found, vault)
    return found, vault


def test_lines_comments_markers_extras_and_continuations_are_understood(tmp_path):
    found, _ = read(
        tmp_path,
        "\ufeff# all of it\n"
        "numpy >=1.26, <3  # the numbers\n"
        "\n"
        "uvicorn[standard]==0.30 ; python_version < '3.14'\n"
        "pandas\\\n  >=2.0\\\n  ,<3\n"
        "numpy >=1.26, <3\n",
    )
    assert found.lines == [
        "numpy >=1.26, <3",
        "uvicorn[standard]==0.30 ; python_version < '3.14'",
        "pandas >=2.0 ,<3",
    ]


def test_included_files_are_merged_relative_to_the_file_that_names_them(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "base.txt").write_text("six\n-r deeper.txt\n")
    (tmp_path / "more" / "deeper.txt").write_text("idna\n-c limits.txt\n")
    (tmp_path / "more" / "limits.txt").write_text("six<2\n")
    found, _ = read(tmp_path, "-r more/base.txt\n--requirement=more/base.txt\nattrs\n")
    assert found.lines == ["six", "idna", "attrs"]
    assert found.constraints == ["six<2"]


def test_what_a_constraints_file_includes_is_a_constraint_too(tmp_path):
    found, _ = read(tmp_path, "-cfirst.txt\n", first="a<1\n-r second.txt\n", second="b<2\n")
    assert (found.lines, found.constraints) == ([], ["a<1", "b<2"])


def test_files_that_include_each_other_are_refused_with_the_whole_circle(tmp_path):
    with pytest.raises(ConfigurationError, match=r"requirements\.txt -> .*a\.txt -> .*b\.txt -> .*requirements\.txt"):
        read(tmp_path, "-r a.txt\n", a="-r b.txt\n", b="-r requirements.txt\n")


def test_a_missing_file_is_named_with_the_line_that_asks_for_it(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere\.txt \(named in .*requirements\.txt, line 3\)"):
        read(tmp_path, "six\n\n-r nowhere.txt\n")
    with pytest.raises(ConfigurationError, match=r"There is no requirements file .* relative path starts at the DAG"):
        requirements_file.read(tmp_path / "none.txt", Requirements(), Vault({}))


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        requirements_file.read(tmp_path / "binary.txt", Requirements(), Vault({}))


def test_options_on_indexes_and_binaries_are_taken(tmp_path):
    found, _ = read(
        tmp_path,
        "-i https://mirror/simple\n--extra-index-url=https://a/simple\n--extra-index-url https://b/simple\n"
        "-f https://links/page\n--trusted-host mirror\n--pre\n--no-binary :all:\n--only-binary numpy,scipy\n"
        "--require-hashes\n",
    )
    assert found.index_url == "https://mirror/simple"
    assert found.extra_index_urls == ["https://a/simple", "https://b/simple"]
    assert found.find_links == ["https://links/page"]
    assert found.trusted_hosts == ["mirror"]
    assert (found.pre, found.require_hashes, found.no_index) == (True, True, False)
    assert (found.no_binary, found.only_binary) == ([":all:"], ["numpy", "scipy"])


def test_hashes_travel_with_their_requirement_and_ask_for_hashes_everywhere(tmp_path):
    found, _ = read(tmp_path, f"six==1.17.0 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n")
    assert found.lines == [f"six==1.17.0 --hash=sha256:{'a' * 64} --hash=sha256:{'b' * 64}"]
    assert found.require_hashes


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-e .", "editable"),
        ("-e git+https://host/repo", "editable"),
        ("./wheels/six-1.0-py3-none-any.whl", "file or folder of this machine"),
        ("six-1.0-py3-none-any.whl", "file or folder of this machine"),
        ("/opt/package", "file or folder of this machine"),
        ("file:///opt/six.whl", "file or folder of this machine"),
        ("six @ file:///opt/six.whl", "file or folder of this machine"),
        (".[dev]", "file or folder of this machine"),
        ("-f wheels", "folder of this machine"),
        ("-i mirror", "https://"),
        ("-r https://host/requirements.txt", "download it"),
        ("--prefer-binary", "--only-binary"),
        ("--extra-index https://host", "Did you mean --extra-index-url"),
        ("six --install-option=x", "--install-option"),
        ("--pre yes", "takes no value"),
        ("-r", "without a value"),
        ("-r 'a.txt", "quotation"),
        ("numpy=>1", "no requirement"),
        ("numpy 1.26", "no requirement"),
        ("import numpy", "no requirement"),
        ("six @ somewhere", "no requirement"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_file_line_and_advice(tmp_path, line, said):
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, f"six\n{line}\n")
    assert said in str(caught.value)
    assert "requirements.txt, line 2" in str(caught.value)
    assert caught.value.advice


def test_addresses_of_packages_stand_as_they_are(tmp_path):
    lines = [
        "six @ https://host/six-1.17.0-py2.py3-none-any.whl#sha256=abc",
        "https://host/idna-3.0-py3-none-any.whl",
        "tool[extra] @ git+https://host/repo.git@v1.0#subdirectory=a ; sys_platform == 'linux'",
        "mine @ git+ssh://git@host/repo.git",
    ]
    found, vault = read(tmp_path, "\n".join(lines))
    assert found.lines == lines
    assert (vault.secrets, vault.urls) == ({}, {})


@given(st.lists(st.tuples(st.sampled_from(["a", "b==1", "c[x]>=2"]), st.sampled_from(["", "  # why", "\\\n", "  "]))))
def test_every_requirement_comes_out_however_it_is_laid_out(parts):
    text = "".join(f"{line}{end if end != chr(92) + chr(10) else chr(92) + chr(10) + chr(10)}\n" for line, end in parts)
    assert [line for _, line in logical_lines(text)] == [line for line, _ in parts]


def test_a_line_number_is_that_of_the_first_physical_line():
    assert list(logical_lines("\n\na\\\n b\nc\n# d\\\ne")) == [(3, "a b"), (5, "c"), (7, "e")]
