"""What is left out: Git's own answer is the measure."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider.scriptrun.errors import SnapshotError
from airflow_provider.scriptrun.snapshot.ignore import NO_RULES, IgnoreRules
from tests.snapshot.trees import File, Link, Tree, fresh, paths, plant, scratch, write

if TYPE_CHECKING:
    from pathlib import Path

#: Git without what we do not read: no system or user configuration, so no core.excludesFile.
GIT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "HOME": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
}

NAMES = [b"a", b"b", b"ab", b"c", b"foo", b"a.b", b"abc", b"\xc3\xa9", b"\xff", b"a b", b"b ", b"#a", b"!a", b"[", b"*",
         b"foo.a", b"a\\", b"A", b"a-b"]  # fmt: skip
PIECES = [
    b"a", b"b", b"ab", b"c", b"foo", b"\xc3\xa9", b"*", b"**", b"?", b"/", b"/", b"!", b".", b" ", b"#", b"-", b"\\",
    b"\t", b"\r", b"[ab]", b"[!a]", b"[^b]", b"[a-c]", b"[c-a]", b"[]]", b"[]-a]", b"[", b"]", b"[a-", b"[a\\]b]",
    b"[[:alpha:]]", b"[[:digit:][:upper:]]", b"[[:nonsense:]]", b"[[:space:]", b"[[:]", b"\\*", b"\\ ", b"**/", b"/**",
    b"/**/", b"*/",
]  # fmt: skip
any_pattern = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map(b"".join)
usual_pattern = st.tuples(
    st.sampled_from([b"", b"", b"!"]),
    st.sampled_from([b"", b"/", b"a/", b"**/"]),
    st.sampled_from([*NAMES, b"*", b"a*", b"*b", b"*a*b*", b"a*?*b"]),
    st.sampled_from([b"", b"", b"/", b"/*", b"/**", b"*", b" ", b"/b"]),
).map(b"".join)
ignore_files = st.builds(
    lambda mark, lines, end, last: mark + end.join(lines) + (end if last else b""),
    st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf"]),
    st.lists(st.one_of(any_pattern, usual_pattern), max_size=5),
    st.sampled_from([b"\n", b"\n", b"\r\n"]),
    st.booleans(),
).map(File)
leaves = st.sampled_from([File(b""), File(b""), File(b""), Link(b".")])


def with_rules(below: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    named = st.dictionaries(st.sampled_from(NAMES), st.one_of(leaves, below), min_size=1, max_size=5)
    return st.one_of(named, st.builds(lambda tree, rules: {**tree, b".gitignore": rules}, named, ignore_files))


plain = st.dictionaries(st.sampled_from(NAMES), leaves, min_size=1, max_size=5)
nested = with_rules(with_rules(with_rules(plain)))
ruled = st.builds(lambda tree, rules: {**tree, b".gitignore": rules}, nested, ignore_files)


@pytest.fixture(scope="module")
def git_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("git") / "repository"
    subprocess.run(["git", "init", "--quiet", "--template=", folder], env=GIT, check=True)
    return folder / ".git"


def what_git_keeps(git_directory: Path, root: Path) -> set[bytes]:
    output = subprocess.run(
        ["git", f"--git-dir={git_directory}", f"--work-tree={root}", "ls-files", "-o", "-z", "--exclude-standard"],
        cwd=root,
        env=GIT,
        check=True,
        capture_output=True,
    ).stdout
    return set(output.split(b"\0")) - {b""}


def holds_to_git(git_directory: Path, tree: Tree) -> None:
    with scratch() as root:
        plant(root, tree)
        kept = {entry.path for entry in fresh(root).entries if entry.type != "d"}
        assert kept == what_git_keeps(git_directory, root)


@pytest.mark.slow
@settings(max_examples=300)
@given(tree=ruled)
def test_nested_ignore_files_mean_what_they_mean_to_git(git_directory, tree):
    holds_to_git(git_directory, tree)


@pytest.mark.slow
@settings(max_examples=3000)
@given(tree=ruled)
def test_nested_ignore_files_mean_what_they_mean_to_git_on_thousands_of_trees(git_directory, tree):
    holds_to_git(git_directory, tree)


def left_out(patterns: bytes, path: bytes, *, is_directory: bool = False, rules: IgnoreRules = NO_RULES) -> bool:
    return rules.below(b"", patterns).leave_out(path.rpartition(b"/")[2], path, is_directory)


@pytest.mark.parametrize(
    ("patterns", "path", "answer"),
    [
        (b"*.py[co]", b"a/b.pyc", True),
        (b"/a", b"b/a", False),
        (b"a/b", b"a/b", True),
        (b"a/b", b"c/a/b", False),
        (b"**/b", b"a/c/b", True),
        (b"a/**/b", b"a/b", True),
        (b"a**/b", b"ab", True),  # Git compares `a` by itself, and the rest, `**/b`, matches `b`
        (b"a**/b", b"a/b", True),
        (b"?", b"\xc3\xa9", False),  # two bytes
        (b"??", b"\xc3\xa9", True),
        (b"[[:alpha:]]", b"x", True),
        (b"[[:nonsense:]]", b"x", False),
        (b"foo\\ ", b"foo ", True),
        (b"foo ", b"foo", True),
        (b"foo\\", b"foo\\", False),
        (b"\\#a", b"#a", True),
        (b"\\!a", b"!a", True),
        (b"a\r\n", b"a", True),
        (b"\xef\xbb\xbfa", b"a", True),
        (b"A", b"a", False),
        (b"*\n!*.py", b"train.py", False),
        (b"!*.py\n*", b"train.py", True),
    ],
)
def test_a_pattern_means(patterns, path, answer):
    assert left_out(patterns, path) is answer


def test_a_pattern_with_many_stars_is_answered_at_once():
    name = b"a" * 250
    assert not left_out(b"*a*a*a*a*a*a*a*a*a*a*a*a*b", name)
    assert left_out(b"*a*a*a*a*a*a*a*a*a*a*a*a*", name)
    assert not left_out(b"x/*a*a*a*a*a*a*a*a*a*a*a*a*b", b"x/" + name)


def test_amlignore_replaces_every_gitignore(tmp_path):
    write(tmp_path / ".gitignore", "a\n")
    write(tmp_path / "sub/.gitignore", "b\n")
    write(tmp_path / ".amlignore", "c\nsub/d\n")
    for name in "abcd":
        write(tmp_path / "sub" / name)
    assert paths(fresh(tmp_path)) == {".gitignore", ".amlignore", "sub/.gitignore", "sub/a", "sub/b"}


def test_an_empty_amlignore_lets_everything_travel(tmp_path):
    write(tmp_path / ".gitignore", "*\n")
    write(tmp_path / ".amlignore", "")
    write(tmp_path / "train.py")
    assert paths(fresh(tmp_path)) == {".gitignore", ".amlignore", "train.py"}


def test_amlignore_counts_at_the_root_only(tmp_path):
    write(tmp_path / "sub/.amlignore", "a\n")
    write(tmp_path / "sub/a")
    assert "sub/a" in paths(fresh(tmp_path))


def test_amlignore_may_be_a_link(tmp_path):
    write(tmp_path / ".gitignore", "a\n")
    (tmp_path / ".amlignore").symlink_to(".gitignore")
    write(tmp_path / "a")
    assert paths(fresh(tmp_path)) == {".gitignore", ".amlignore"}


def test_some_folders_never_travel_and_cannot_be_had_back(tmp_path):
    rules = "!.git\n!__pycache__/\n!venv\n!conda\n!outputs/\n!logs/\n!*\n"
    write(tmp_path / ".gitignore", rules)
    for path in [".git/config", "__pycache__/a.pyc", "sub/__pycache__/a.pyc", "venv/pyvenv.cfg", "venv/bin/python",
                 "sub/conda/conda-meta/history", "sub/conda/bin/python", "outputs/model.pkl", "logs/run.log",
                 "sub/.git", "train.py", "sub/outputs/kept", "sub/logs/kept"]:  # fmt: skip
        write(tmp_path / path)
    snapshot = fresh(tmp_path)
    assert paths(snapshot) == {".gitignore", "train.py", "sub/outputs/kept", "sub/logs/kept"}
    assert snapshot.ignored == 8


def test_a_link_named_outputs_is_left_out_wherever_it_leads(tmp_path):
    (tmp_path / "outputs").symlink_to("/mnt/scratch")
    assert fresh(tmp_path).entries == ()


def test_a_source_directory_that_is_an_environment_itself_travels(tmp_path):
    write(tmp_path / "pyvenv.cfg")
    write(tmp_path / "train.py")
    assert paths(fresh(tmp_path)) == {"pyvenv.cfg", "train.py"}


def test_ignore_files_above_the_source_directory_do_not_count(tmp_path):
    write(tmp_path / ".gitignore", "*\n")
    write(tmp_path / "code/train.py")
    assert paths(fresh(tmp_path / "code")) == {"train.py"}


def test_an_ignore_file_that_is_a_link_or_a_folder_is_no_ignore_file(tmp_path, git_directory):
    write(tmp_path / "rules", "a\n")
    (tmp_path / ".gitignore").symlink_to("rules")
    (tmp_path / "sub/.gitignore").mkdir(parents=True)
    write(tmp_path / "sub/.gitignore/a")
    write(tmp_path / "a")
    kept = paths(fresh(tmp_path))
    assert kept == {"rules", ".gitignore", "sub/.gitignore/a", "a"}
    assert {os.fsencode(path) for path in kept} == what_git_keeps(git_directory, tmp_path)


def test_what_is_left_out_is_never_looked_into(tmp_path):
    write(tmp_path / ".gitignore", "bad*\n")
    os.mkfifo(tmp_path / "bad-pipe")
    (tmp_path / "bad-link").symlink_to("/etc/hostname")
    write(tmp_path / "bad/inside")
    os.mkfifo(tmp_path / "bad/pipe")
    assert paths(fresh(tmp_path)) == {".gitignore"}


def test_an_amlignore_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / ".amlignore").mkdir()
    with pytest.raises(SnapshotError, match=r"\.amlignore"):
        fresh(tmp_path)
