"""A snapshot back into files: whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from airflow_provider.scriptrun.errors import SnapshotError
from airflow_provider.scriptrun.snapshot import RestoreFacts, restore
from airflow_provider.scriptrun.supervisor.protocol.manifest import Entry
from tests.snapshot.trees import fresh, plant, scratch, trees, write


@settings(max_examples=80)
@given(trees)
def test_a_restored_tree_has_the_id_of_its_snapshot(tree):
    with scratch() as folder:
        root = folder / "code"
        root.mkdir()
        plant(root, tree)
        snapshot = fresh(root)
        facts = restore(snapshot.entries, snapshot.open_blob, folder / "restored")
        assert fresh(folder / "restored").id == snapshot.id
        assert facts == RestoreFacts(snapshot.files, snapshot.bytes)
        assert sorted(os.listdir(folder)) == ["code", "restored"]


def entry(path: str, content: bytes = b"x", kind: str = "f") -> Entry:
    return Entry(path.encode(), kind, len(content), hashlib.sha256(content).hexdigest().encode())


def link(path: str, target: str) -> Entry:
    return Entry(path.encode(), "l", 0, target.encode())


def nothing_is_left(folder: Path) -> None:
    assert os.listdir(folder) == []


def test_a_destination_that_exists_is_never_written_to(tmp_path):
    write(tmp_path / "there/mine")
    with pytest.raises(SnapshotError, match="exists already"):
        restore([entry("a")], lambda _: [b"x"], tmp_path / "there")
    assert os.listdir(tmp_path / "there") == ["mine"]
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(SnapshotError, match="exists already"):
        restore([entry("a")], lambda _: [b"x"], tmp_path / "link")


def test_folders_above_the_destination_are_made(tmp_path):
    restore([entry("a/b")], lambda _: [b"x"], tmp_path / "new/place")
    assert (tmp_path / "new/place/a/b").read_bytes() == b"x"


@pytest.mark.parametrize("bad", [[b"y"], [], [b"x", b"x"], [b"xx"]])
def test_a_damaged_blob_is_named_and_nothing_is_left(bad, tmp_path):
    with pytest.raises(SnapshotError, match=r"sub/a .*damaged"):
        restore([entry("sub/a")], lambda _: bad, tmp_path / "new")
    nothing_is_left(tmp_path)


def test_a_missing_blob_is_named_and_nothing_is_left(tmp_path):
    with pytest.raises(SnapshotError, match="sub/a"):
        restore([entry("sub/a")], {}.__getitem__, tmp_path / "new")
    nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../a")],
        [entry("/a")],
        [entry("a/../../b")],
        [link("a", "/etc")],
        [link("a", "..")],
        [link("a", "b"), link("b", "../c")],
        [link("a", "."), entry("a/b")],
        [entry("a"), entry("a/b")],
        [entry("a"), link("a", "b")],
        [entry("a"), entry("a")],
    ],
)
def test_entries_that_no_snapshot_has_are_refused_and_nothing_is_left(entries, tmp_path):
    with pytest.raises(SnapshotError):
        restore(entries, lambda _: [b"x"], tmp_path / "new")
    nothing_is_left(tmp_path)


def test_a_full_disk_says_so_and_nothing_is_left(tmp_path, monkeypatch):
    def full(_: str):
        yield b"x"
        raise OSError(28, "No space left on device", str(tmp_path / "new/a"))

    with pytest.raises(SnapshotError, match="No space left"):
        restore([entry("a")], full, tmp_path / "new")
    nothing_is_left(tmp_path)


def test_an_unwritable_place_is_named(tmp_path):
    write(tmp_path / "file")
    with pytest.raises(SnapshotError, match="file"):
        restore([entry("a")], lambda _: [b"x"], tmp_path / "file/new")


def test_an_interrupted_restore_leaves_nothing(tmp_path):
    def interrupted(_: str):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore([entry("a")], interrupted, tmp_path / "new")
    nothing_is_left(tmp_path)


def test_the_umask_decides_about_permissions_as_for_any_new_file():
    with tempfile.TemporaryDirectory() as folder:
        before = os.umask(0o027)
        try:
            restore([entry("a/b"), entry("c", kind="x")], lambda _: [b"x"], Path(folder) / "new")
        finally:
            os.umask(before)
        modes = {name: (Path(folder) / "new" / name).stat().st_mode & 0o777 for name in ("a", "a/b", "c", ".")}
    assert modes == {"a": 0o750, "a/b": 0o640, "c": 0o750, ".": 0o750}
