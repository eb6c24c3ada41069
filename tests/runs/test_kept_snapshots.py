from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import threading

import pytest

from airflow_provider.scriptrun.errors import SnapshotChangedError, SnapshotError, WorkspaceError
from airflow_provider.scriptrun.runs import kept_snapshots
from airflow_provider.scriptrun.runs.kept_snapshots import Kept
from airflow_provider.scriptrun.snapshot import take


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "train.py").write_text("print('hello')\n")
    (folder / "sub" / "data.bin").write_bytes(os.urandom(300_000))
    (folder / "sub" / "same.bin").write_bytes((folder / "sub" / "data.bin").read_bytes())
    (folder / "nothing").write_bytes(b"")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("sub/data.bin")
    return folder


class Counting:
    """Counts the writes that go through an object store, and holds their names."""

    def __init__(self, store, monkeypatch):
        self.names: list[str] = []
        put, writer = store.put, store.writer
        monkeypatch.setattr(store, "put", lambda name, *a, **k: (self.names.append(name), put(name, *a, **k))[1])
        monkeypatch.setattr(store, "writer", lambda name, *a, **k: (self.names.append(name), writer(name, *a, **k))[1])


def keep(workspace, source, cache):
    snapshot = take(source, cache_directory=cache)
    return snapshot, workspace.keep_snapshot(snapshot, cache)


def same_tree(a, b) -> bool:
    comparison = filecmp.dircmp(a, b)
    return not (
        comparison.left_only or comparison.right_only or comparison.diff_files or comparison.funny_files
    ) and all(same_tree(f"{a}/{name}", f"{b}/{name}") for name in comparison.common_dirs)


def test_a_snapshot_comes_back_as_it_was(workspace, source, tmp_path):
    snapshot, kept = keep(workspace, source, tmp_path / "cache")
    assert kept == Kept(3, 300_000 + 15 + 10)
    restored = workspace.restore_snapshot(snapshot.id, tmp_path / "restored")
    assert same_tree(source, restored)
    assert os.access(restored / "run.sh", os.X_OK)
    assert os.readlink(restored / "link") == "sub/data.bin"
    assert (restored / "sub" / "empty").is_dir()


def test_an_unchanged_tree_writes_nothing(workspace, source, tmp_path, monkeypatch):
    keep(workspace, source, tmp_path / "cache")
    writes = Counting(workspace.objects, monkeypatch)
    _, kept = keep(workspace, source, tmp_path / "cache")
    assert (kept, writes.names) == (Kept(0, 0), [])


def test_one_changed_file_is_one_small_pack(workspace, source, tmp_path, monkeypatch):
    keep(workspace, source, tmp_path / "cache")
    (source / "train.py").write_text("print('changed')\n")
    writes = Counting(workspace.objects, monkeypatch)
    snapshot, kept = keep(workspace, source, tmp_path / "cache")
    assert kept == Kept(1, 17)
    assert [name.split("/")[0] for name in writes.names] == ["packs", "snapshots"]
    assert same_tree(source, workspace.restore_snapshot(snapshot.id, tmp_path / "restored"))


def test_another_worker_without_memory_keeps_it_whole(workspace, source, tmp_path):
    first, _ = keep(workspace, source, tmp_path / "cache")
    (source / "train.py").write_text("print('changed')\n")
    second, kept = keep(workspace, source, tmp_path / "another")
    assert kept.blobs == 3
    for number, snapshot in enumerate((first, second)):
        workspace.restore_snapshot(snapshot.id, tmp_path / str(number))


def test_a_workspace_that_was_emptied_gets_everything_again(folder_workspace, source, tmp_path):
    import shutil

    keep(folder_workspace, source, tmp_path / "cache")
    shutil.rmtree(folder_workspace.url)
    snapshot, kept = keep(folder_workspace, source, tmp_path / "cache")
    assert kept.blobs == 3
    assert same_tree(source, folder_workspace.restore_snapshot(snapshot.id, tmp_path / "restored"))


def test_a_cache_folder_that_cannot_be_written_only_costs_time(folder_workspace, source, tmp_path, caplog):
    (tmp_path / "no-folder").write_text("")
    snapshot, kept = keep(folder_workspace, source, tmp_path / "no-folder")
    assert kept.blobs == 3
    assert "the next snapshot is kept as a whole" in caplog.text
    assert same_tree(source, folder_workspace.restore_snapshot(snapshot.id, tmp_path / "restored"))


def test_a_damaged_memory_only_costs_time(folder_workspace, source, tmp_path):
    keep(folder_workspace, source, tmp_path / "cache")
    for file in (tmp_path / "cache" / "kept").iterdir():
        file.write_bytes(file.read_bytes()[:-3])
    (source / "train.py").write_text("print('changed')\n")
    snapshot, kept = keep(folder_workspace, source, tmp_path / "cache")
    assert kept.blobs == 3
    assert same_tree(source, folder_workspace.restore_snapshot(snapshot.id, tmp_path / "restored"))


def test_many_small_packs_become_one(folder_workspace, source, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_snapshots, "MAX_PACKS", 4)
    monkeypatch.setattr(kept_snapshots, "PACKS_AFTER_REPACKING", 1)
    kept = []
    for number in range(8):
        (source / f"new{number}").write_text(f"{number}")
        snapshot, result = keep(folder_workspace, source, tmp_path / "cache")
        kept.append(result.blobs)
    assert kept == [4, 1, 1, 1, 1, 5, 1, 1]
    assert same_tree(source, folder_workspace.restore_snapshot(snapshot.id, tmp_path / "restored"))


def test_a_file_that_changes_while_its_pack_is_written_leaves_nothing_that_counts(workspace, source, tmp_path):
    snapshot = take(source, cache_directory=tmp_path / "cache")
    (source / "sub" / "data.bin").write_bytes(b"other")
    (source / "sub" / "same.bin").write_bytes(b"other")
    with pytest.raises(SnapshotChangedError, match=r"data\.bin|same\.bin"):
        workspace.keep_snapshot(snapshot, tmp_path / "cache")
    assert workspace.objects.walk("") == {}
    with pytest.raises(WorkspaceError, match="has no snapshot"):
        workspace.restore_snapshot(snapshot.id, tmp_path / "restored")


def test_half_a_pack_of_the_right_name_is_not_taken_for_whole(workspace, source, tmp_path):
    store = workspace.objects
    keep(workspace, source, tmp_path / "cache")
    (pack,) = store.names("packs")
    (document,) = store.names("snapshots")
    store.remove(f"snapshots/{document}")
    store.put(f"packs/{pack}", b"half")
    snapshot, _ = keep(workspace, source, tmp_path / "cache")
    assert same_tree(source, workspace.restore_snapshot(snapshot.id, tmp_path / "restored"))


def test_damage_is_noticed_when_a_snapshot_is_restored(folder_workspace, source, tmp_path):
    snapshot, _ = keep(folder_workspace, source, tmp_path / "cache")
    store = folder_workspace.objects
    (pack,) = store.names("packs")
    data = bytearray(store.get(f"packs/{pack}"))
    data[100] ^= 1
    store.put(f"packs/{pack}", bytes(data))
    with pytest.raises(SnapshotError):
        folder_workspace.restore_snapshot(snapshot.id, tmp_path / "restored")
    store.put(f"packs/{pack}", bytes(data[:50]))
    with pytest.raises((SnapshotError, WorkspaceError)):
        folder_workspace.restore_snapshot(snapshot.id, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()
    document = store.get(f"snapshots/{snapshot.id}")
    for damaged in (b"", document[:50], document[:-5], document.replace(b'"version":1', b'"version":2')):
        store.put(f"snapshots/{snapshot.id}", damaged)
        with pytest.raises(WorkspaceError):
            folder_workspace.restore_snapshot(snapshot.id, tmp_path / "restored")


def test_ten_at_once_keep_one_snapshot(folder_workspace, source, tmp_path):
    snapshot = take(source, cache_directory=tmp_path / "cache")
    errors = []

    def one():
        try:
            folder_workspace.keep_snapshot(snapshot, tmp_path / "cache")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(folder_workspace.objects.names("packs")) == 1
    assert same_tree(source, folder_workspace.restore_snapshot(snapshot.id, tmp_path / "restored"))


def test_memory_does_not_grow_with_the_size_of_a_file(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "large", "wb") as file:
        for number in range(200):
            file.write(bytes([number]) * 1024 * 1024)
    script = """
import sys, resource
from pathlib import Path
from airflow_provider.scriptrun.runs import Workspace
from airflow_provider.scriptrun.snapshot import take
root = Path(sys.argv[1])
snapshot = take(root / "source", cache_directory=root / "cache")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
workspace = Workspace(root / "workspace")
workspace.keep_snapshot(snapshot, root / "cache")
workspace.restore_snapshot(snapshot.id, root / "restored")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 30_000, "KiB"
    assert filecmp.cmp(source / "large", tmp_path / "restored" / "large", shallow=False)
