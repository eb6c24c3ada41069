"""The id of a snapshot: the same for the same tree, another for any difference that a script could see."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider.scriptrun.supervisor.protocol import manifest
from tests.snapshot.trees import File, Link, Tree, expected, fresh, paths, plant, scratch, trees, write

if TYPE_CHECKING:
    from pathlib import Path

many = settings(max_examples=150)


def id_of(tree: Tree, *, backwards: bool = False) -> str:
    with scratch() as root:
        plant(root, tree, backwards=backwards)
        return fresh(root).id


@many
@given(trees)
def test_the_manifest_tells_the_tree_and_nothing_else(tree):
    with scratch() as root:
        plant(root, tree)
        snapshot = fresh(root)
        assert snapshot.manifest == manifest.encode(expected(tree))
        assert snapshot.id == manifest.snapshot_id(snapshot.manifest)
        assert list(snapshot.entries) == sorted(expected(tree))
        files = [entry for entry in snapshot.entries if entry.type in "fx"]
        assert (snapshot.files, snapshot.bytes) == (len(files), sum(entry.size for entry in files))


@settings(max_examples=50)
@given(trees)
def test_the_same_tree_elsewhere_made_in_another_order_has_the_same_id(tree):
    assert id_of(tree) == id_of(tree, backwards=True)


@pytest.mark.slow
@many
@given(trees, trees)
def test_two_different_trees_never_share_an_id(one, other):
    same = sorted(expected(one)) == sorted(expected(other))
    assert (id_of(one) == id_of(other)) is same


def change(root: Path, how: str) -> None:
    folder, script, tool = root / "pkg", root / "pkg/train.py", root / "tool"
    actions = {
        "a directory is renamed": lambda: folder.rename(root / "package"),
        "a file moves up": lambda: script.rename(root / "train.py"),
        "a file moves down": lambda: tool.rename(folder / "tool"),
        "a file is renamed": lambda: script.rename(folder / "training.py"),
        "a file becomes executable": lambda: script.chmod(0o755),
        "a file is not executable any more": lambda: tool.chmod(0o644),
        "two files swap their content": lambda: (script.write_bytes(b"bb"), tool.write_bytes(b"aa")),
        "a byte moves from a name to its content": lambda: (script.unlink(), write(folder / "train.p", b"yaa")),
        "a directory's name and a file's are joined": lambda: script.rename(root / "pkgtrain.py"),
        "a file is emptied": lambda: script.write_bytes(b""),
        "an empty directory appears": lambda: (root / "data").mkdir(),
        "an empty directory goes": lambda: (root / "void").rmdir(),
        "an empty directory becomes an empty file": lambda: ((root / "void").rmdir(), write(root / "void", b"")),
        "a link points elsewhere": lambda: ((root / "link").unlink(), (root / "link").symlink_to("pkg")),
        "a link becomes a file with its target as content": lambda: (
            (root / "link").unlink(),
            write(root / "link", "tool"),
        ),
        "a link becomes a copy": lambda: ((root / "link").unlink(), write(root / "link", b"bb")),
        "a file becomes an empty directory": lambda: (tool.unlink(), tool.mkdir()),
        "a name changes its case": lambda: script.rename(folder / "Train.py"),
    }
    actions[how]()


CHANGES = [
    "a directory is renamed", "a file moves up", "a file moves down", "a file is renamed", "a file becomes executable",
    "a file is not executable any more", "two files swap their content", "a byte moves from a name to its content",
    "a directory's name and a file's are joined", "a file is emptied", "an empty directory appears",
    "an empty directory goes", "an empty directory becomes an empty file", "a link points elsewhere",
    "a link becomes a file with its target as content", "a link becomes a copy", "a file becomes an empty directory",
    "a name changes its case",
]  # fmt: skip


@pytest.mark.parametrize("how", CHANGES)
def test_another_id_when(how, tmp_path):
    plant(
        tmp_path,
        {
            b"pkg": {b"train.py": File(b"aa")},
            b"tool": File(b"bb", executable=True),
            b"void": {},
            b"link": Link(b"tool"),
        },
    )
    before = fresh(tmp_path)
    change(tmp_path, how)
    after = fresh(tmp_path)
    assert before.id != after.id
    assert before.entries != after.entries


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o664, 0o444], ids=oct)
def test_permissions_other_than_execution_do_not_matter(mode, tmp_path):
    script = write(tmp_path / "train.py")
    before = fresh(tmp_path).id
    script.chmod(mode)
    os.utime(script, (1, 1))
    assert fresh(tmp_path).id == before


@given(
    st.lists(
        st.binary(min_size=1, max_size=8).filter(
            lambda n: not set(n) & set(b"/\0") and n not in (b".", b"..", b".git")
        ),
        min_size=1,
        max_size=5,
        unique=True,
    )
)
@settings(max_examples=60)
def test_every_name_that_a_file_system_takes_travels(some):
    some = [name for name in some if name not in (b"outputs", b"logs", b".gitignore", b".amlignore")]
    with scratch() as root:
        plant(root, {name: File(name) for name in some})
        assert {entry.path for entry in fresh(root).entries} == set(some)


def test_a_directory_that_holds_only_what_is_left_out_does_not_travel(tmp_path):
    write(tmp_path / ".gitignore", "*.csv\n")
    write(tmp_path / "data/big.csv")
    (tmp_path / "empty").mkdir()
    assert paths(fresh(tmp_path)) == {".gitignore", "empty"}


def test_an_empty_source_directory_is_a_snapshot_too(tmp_path):
    root = tmp_path / "empty"
    root.mkdir()
    snapshot = fresh(root)
    assert (snapshot.entries, snapshot.files, snapshot.manifest) == ((), 0, manifest.HEADER)


def test_a_source_directory_named_through_a_link_has_the_same_id(tmp_path):
    write(tmp_path / "code/train.py")
    (tmp_path / "current").symlink_to("code")
    assert fresh(tmp_path / "current").id == fresh(tmp_path / "code").id


def test_a_tree_of_many_levels_is_walked_without_recursion(tmp_path):
    top = folder = tmp_path / "d"
    for _ in range(1200):
        folder.mkdir()
        folder = folder / "d"
    write(folder)
    try:
        assert fresh(top).files == 1
    finally:
        subprocess.run(["rm", "-rf", top], check=True)  # Python's own rmtree does recurse
