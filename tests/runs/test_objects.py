from __future__ import annotations

import os

import pytest

from airflow_provider.scriptrun.errors import TargetUnreachableError, WorkspaceError
from airflow_provider.scriptrun.runs import objects
from airflow_provider.scriptrun.runs.local_objects import LocalObjects
from airflow_provider.scriptrun.runs.remote_objects import RemoteObjects
from airflow_provider.scriptrun.runs.workspace import Workspace


def test_what_was_put_is_there_whole(workspace):
    store = workspace.objects
    store.put("a/b.json", b"one")
    store.put("a/b.json", b"other")
    assert store.get("a/b.json") == b"other"
    assert store.size("a/b.json") == 5
    assert b"".join(store.read("a/b.json", 1, 3)) == b"the"
    assert (store.get("a/c"), store.size("a/c"), store.size("x/y")) == (None, None, None)


def test_a_folder_lists_what_is_in_it(workspace):
    store = workspace.objects
    for name in ("e/one/r.json", "e/one/outputs/a b.txt", "e/two/r.json"):
        store.put(name, b"x")
    assert store.names("e") == ["one", "two"]
    assert store.names("nowhere") == []
    assert store.walk("e/one") == {"outputs/a b.txt": 1, "r.json": 1}
    assert store.walk("nowhere") == {}
    store.remove("e/two/r.json")
    store.remove("e/two/r.json")
    assert store.names("e") == ["one"]


def test_a_large_object_is_written_and_read_in_pieces(workspace):
    store, piece = workspace.objects, os.urandom(1024 * 1024)
    with store.writer("packs/a") as writer:
        for _ in range(20):
            writer.write(piece)
    assert store.size("packs/a") == 20 * len(piece)
    assert b"".join(store.read("packs/a")) == piece * 20
    with store.open("packs/a") as file:
        file.seek(len(piece) * 3 + 5)
        assert file.read(7) == piece[5:12]


@pytest.mark.parametrize("size", [10, 20 * 1024 * 1024])
def test_an_interrupted_write_leaves_nothing(workspace, size):
    store = workspace.objects

    def write():
        with store.writer("packs/a") as writer:
            for at in range(0, size, 1024 * 1024):
                writer.write(bytes(min(size - at, 1024 * 1024)))
            raise TargetUnreachableError("the source has gone")

    with pytest.raises(TargetUnreachableError, match="has gone"):
        write()
    assert store.size("packs/a") is None
    assert store.names("packs") == []


def test_a_killed_writer_leaves_nothing_that_counts_and_is_swept_away(tmp_path):
    store = LocalObjects(tmp_path)
    child = os.fork()
    if not child:
        with store.writer("packs/a") as writer:
            writer.write(bytes(5 * 1024 * 1024))
            os._exit(9)
    os.waitpid(child, 0)
    (left,) = (tmp_path / "packs").iterdir()
    assert (store.names("packs"), store.walk(""), store.size("packs/a")) == ([], {}, None)
    store.sweep("packs")
    assert left.exists()
    os.utime(left, (0, 0))
    store.sweep("packs")
    assert not left.exists()


def test_json_that_is_damaged_or_no_json_is_an_error(workspace):
    store = workspace.objects
    store.put("a.json", b"{")
    with pytest.raises(WorkspaceError, match="damaged"):
        store.get_json("a.json")
    with pytest.raises(WorkspaceError, match="not plain JSON"):
        store.put_json("b.json", {"x": object()})
    assert store.get_json("b.json") is None


def test_a_root_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match=r"file/workspace/a cannot be written.*\[scriptrun\] workspace"):
        Workspace(tmp_path / "file" / "workspace").objects.put("a", b"")
    with pytest.raises(WorkspaceError, match="cannot be written"), LocalObjects("/proc/nowhere").writer("a"):
        pass


@pytest.mark.needs("tmpfs")
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(full_disk):
    store = LocalObjects(full_disk)
    with pytest.raises(WorkspaceError, match="No space left"), store.writer("packs/a") as writer:
        writer.write(bytes(4 * 1024 * 1024))
    assert store.names("packs") == []
    with pytest.raises(WorkspaceError, match="No space left"):
        store.put("b", bytes(4 * 1024 * 1024))
    assert os.listdir(full_disk) == ["packs"]
    assert os.listdir(f"{full_disk}/packs") == []


def test_an_unknown_kind_of_url_is_one_clear_error():
    with pytest.raises(WorkspaceError, match=r"nosuch://x.*cannot be opened"):
        Workspace("nosuch://x/y")


@pytest.mark.needs("s3")
def test_a_missing_bucket_is_one_clear_error(s3_bucket):
    workspace = Workspace("s3://there-is-no-such-bucket/x")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        workspace.objects.put("a", b"")


@pytest.mark.needs("s3")
def test_a_server_that_is_away_is_one_clear_error(s3_bucket, monkeypatch):
    workspace = Workspace(
        "s3://bucket/x",
        storage_options={"endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 0}}},
    )
    with pytest.raises(WorkspaceError, match="cannot be"):
        workspace.objects.get("a")


def test_a_upath_is_a_root_too():
    from upath import UPath

    workspace = Workspace(UPath("memory://upath-root/x"))
    workspace.objects.put("a", b"1")
    assert isinstance(workspace.objects, RemoteObjects)
    assert UPath("memory://upath-root/x/a").read_bytes() == b"1"


def test_a_local_root_does_not_import_fsspec(tmp_path):
    import subprocess
    import sys

    script = (
        "import sys; from airflow_provider.scriptrun.runs import Workspace; "
        f"Workspace({str(tmp_path)!r}).objects.put('a', b''); assert 'fsspec' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=os.path.dirname(objects.__file__) + "/../../..")


def test_the_longest_name_that_a_file_can_have_can_be_written(tmp_path):
    store, name = LocalObjects(tmp_path), "a" * 255
    store.put(name, b"1")
    with store.writer(f"folder/{name}") as writer:
        writer.write(b"2")
    assert (store.get(name), store.get(f"folder/{name}")) == (b"1", b"2")


def test_what_a_script_called_tmp_is_an_object_like_any_other(tmp_path):
    store = LocalObjects(tmp_path)
    store.put("outputs/model.12.abcdef01.tmp", b"1")
    assert (store.names("outputs"), store.walk("outputs")) == (
        ["model.12.abcdef01.tmp"],
        {"model.12.abcdef01.tmp": 1},
    )


def test_an_error_of_what_is_written_stays_its_own(workspace):
    with pytest.raises(OSError, match="the source") as raised, workspace.objects.writer("a"):
        raise OSError("the source cannot be read")
    assert type(raised.value) is OSError
