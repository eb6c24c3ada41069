from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import replace

import pytest

from airflow_provider.scriptrun.errors import ProtocolError, TargetUnreachableError
from airflow_provider.scriptrun.runs import collect as collecting
from airflow_provider.scriptrun.runs import contents
from airflow_provider.scriptrun.runs.collect import collect, collected_files
from airflow_provider.scriptrun.runs.workspace import Workspace
from airflow_provider.scriptrun.targets.contract import RemoteFile
from tests.runs.fakes import FakeTarget

FILES = {
    "run.log": b"hello\n" * 1000,
    "messages.jsonl": b"",
    "outputs/model.bin": os.urandom(300_000),
    "outputs/deep/er/a b.txt": "é".encode(),
    "logs/x.log": b"x",
}
FOLDER = "experiments/e/r"


@pytest.fixture
def target():
    target = FakeTarget()
    target.run("r").files = dict(FILES)
    return target


def fetched(target) -> list[str]:
    return [path for call in target.calls if call[0] == "fetch" for path in call[2]]


def content(store, folder=FOLDER) -> dict[str, bytes]:
    return {path: store.get(f"{folder}/{path}") for path in store.walk(folder) if path != "files.json"}


def test_everything_comes_whole_and_is_not_fetched_twice(workspace, target):
    store = workspace.objects
    files = collect(target, "r", store, FOLDER)
    assert content(store) == FILES
    assert [file.path for file in files] == sorted(FILES)
    assert collected_files(store, FOLDER) == [*files]
    target.calls.clear()
    assert collect(target, "r", store, FOLDER) == files
    assert fetched(target) == []


def test_only_what_the_workspace_lacks_is_fetched(folder_workspace, target):
    store = folder_workspace.objects
    collect(target, "r", store, FOLDER)
    target.runs["r"].files.update({"outputs/new": b"1", "logs/x.log": b"y"})
    store.remove(f"{FOLDER}/run.log")
    target.calls.clear()
    collect(target, "r", store, FOLDER)
    assert fetched(target) == ["logs/x.log", "outputs/new", "run.log"]
    assert content(store) == target.runs["r"].files


def test_a_collection_that_broke_off_goes_on_with_the_rest(folder_workspace, target):
    store = folder_workspace.objects

    class Breaking(FakeTarget):
        def fetch(self, run_id, paths):
            for number, file in enumerate(target.fetch(run_id, paths)):
                if number == 2:
                    yield replace(file, chunks=self.broken(file))
                    return
                yield file

        def broken(self, file):
            yield next(file.chunks)
            raise TargetUnreachableError("the connection broke")

    breaking = Breaking()
    breaking.runs = target.runs
    with pytest.raises(TargetUnreachableError):
        collect(breaking, "r", store, FOLDER)
    kept = set(content(store))
    assert kept == {"logs/x.log", "messages.jsonl"}
    assert collected_files(store, FOLDER) == []
    target.calls.clear()
    collect(target, "r", store, FOLDER)
    assert set(fetched(target)) == set(FILES) - kept
    assert content(store) == FILES


HOSTILE = [
    "../../../etc/passwd", "/etc/passwd", "outputs/../../x", "outputs/./x", "outputs//x", "outputs/", "outputs", "",
    "outputs/a\0b", "record.json", "config.json", "files.json", "code/train.py", "outputs/" + "x" * 256,
    "outputs/" + "x/" * 2000 + "x", "logs/..", "changes.patch",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE)
def test_a_path_that_no_run_of_ours_has_is_refused(folder_workspace, target, path):
    target.runs["r"].files = {"outputs/good": b"1", path: b"evil"}
    with pytest.raises(ProtocolError, match="no run of ours"):
        collect(target, "r", folder_workspace.objects, FOLDER)
    assert folder_workspace.objects.walk("") == {}


def test_a_list_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(collecting, "MAX_FILES", 10)
    with pytest.raises(ProtocolError, match="more than 10 files"):
        collecting.check_files(RemoteFile(f"outputs/{n}", 1, "a" * 64) for n in range(10**9))


@pytest.mark.parametrize("sent", [b"x" * 999, b"x" * 1001, b"y" * 1000, b""])
def test_what_is_not_what_was_announced_is_not_kept(workspace, target, sent):
    class Lying(FakeTarget):
        def fetch(self, run_id, paths):
            for file in target.fetch(run_id, paths):
                yield replace(file, chunks=iter([sent]))

    target.runs["r"].files = {"outputs/a": b"x" * 1000}
    lying = Lying()
    lying.runs = target.runs
    with pytest.raises(ProtocolError, match="announced"):
        collect(lying, "r", workspace.objects, FOLDER)
    assert workspace.objects.walk("") == {}


def test_a_target_that_sends_other_files_or_too_few_is_refused(folder_workspace, target):
    class Other(FakeTarget):
        def fetch(self, run_id, paths):
            yield from target.fetch(run_id, reversed(list(paths)))

    class Few(FakeTarget):
        def fetch(self, run_id, paths):
            yield from target.fetch(run_id, list(paths)[:1])

    for kind in (Other, Few):
        other = kind()
        other.runs = target.runs
        with pytest.raises(ProtocolError, match=r"Asked for|sent nothing"):
            collect(other, "r", folder_workspace.objects, FOLDER)


def test_progress_ends_at_the_total(folder_workspace, target):
    seen = []
    collect(target, "r", folder_workspace.objects, FOLDER, lambda done, total: seen.append((done, total)))
    total = sum(map(len, FILES.values()))
    assert seen[-1] == (total, total)


def test_a_name_that_is_not_utf8_is_kept_and_not_fetched_twice(workspace, target):
    target.runs["r"].files = {"outputs/a\udcffb": b"1"}
    collect(target, "r", workspace.objects, FOLDER)
    target.calls.clear()
    (file,) = collect(target, "r", workspace.objects, FOLDER)
    assert fetched(target) == []
    assert b"".join(workspace.objects.read(f"{FOLDER}/{file.path}")) == b"1"


def test_what_the_target_has_cleaned_away_since_stays(workspace, target):
    store = workspace.objects
    collect(target, "r", store, FOLDER)
    target.runs["r"].files = {"run.log": FILES["run.log"]}
    assert [file.path for file in collect(target, "r", store, FOLDER)] == sorted(FILES)
    assert len(collected_files(store, FOLDER)) == len(FILES)
    store.remove(f"{FOLDER}/logs/x.log")
    assert "logs/x.log" not in [file.path for file in collect(target, "r", store, FOLDER)]


def test_what_cannot_be_brought_is_named(folder_workspace, target):
    assert collect(target, "r", folder_workspace.objects, FOLDER).warning() is None
    target.skipped = {f"outputs/{n}": "it is a FIFO" for n in range(9)}
    warning = collect(target, "r", folder_workspace.objects, FOLDER).warning()
    assert ": 9 that cannot be brought" in warning
    assert "'outputs/4' (it is a FIFO), ..." in warning
    assert "outputs/5" not in warning


# What another run has brought already

OTHER = "experiments/e/other"
INDEX = "contents/e.json"


@pytest.fixture
def other(target):
    """A second run that left the same large file under another name, and a new one."""
    model = target.runs["r"].files["outputs/model.bin"]
    files = {"outputs/same.bin": model, "outputs/new.bin": os.urandom(70_000), "run.log": b"x" * 100_000}
    target.run("other").files = files
    return target.runs["other"]


@pytest.mark.parametrize(
    "workspace", ["folder", "file", pytest.param("s3", marks=pytest.mark.needs("s3"))], indirect=True
)
def test_large_content_that_another_run_brought_is_copied_within_the_workspace(workspace, target, other):
    store = workspace.objects
    collect(target, "r", store, FOLDER)
    target.calls.clear()
    files = collect(target, "other", store, OTHER)
    assert fetched(target) == ["outputs/new.bin", "run.log"]
    assert content(store, OTHER) == other.files
    assert [file.path for file in files] == sorted(other.files)
    target.calls.clear()
    target.run("third").files = {f"outputs/{n}": data for n, data in enumerate(other.files.values())}
    collect(target, "third", store, "experiments/e/third")
    assert fetched(target) == ["outputs/2"], "a log is no output"


def test_where_a_store_tells_nothing_of_its_objects_everything_travels(target, other):
    store = Workspace(f"memory://{secrets.token_hex(6)}").objects
    collect(target, "r", store, FOLDER)
    target.calls.clear()
    collect(target, "other", store, OTHER)
    assert fetched(target) == sorted(other.files)
    assert content(store, OTHER) == other.files


def test_another_experiment_brings_its_own(folder_workspace, target, other):
    collect(target, "r", folder_workspace.objects, FOLDER)
    target.calls.clear()
    collect(target, "other", folder_workspace.objects, "experiments/another/other")
    assert fetched(target) == sorted(other.files)


def test_small_files_are_brought_and_not_looked_for(folder_workspace, target):
    store = folder_workspace.objects
    target.runs["r"].files = {"outputs/a": b"x" * (contents.MIN_BYTES - 1), "run.log": b"x" * contents.MIN_BYTES}
    collect(target, "r", store, FOLDER)
    assert store.size(INDEX) is None


def test_the_same_large_content_under_two_names_travels_once(folder_workspace, target):
    data = os.urandom(contents.MIN_BYTES)
    target.runs["r"].files = {"outputs/best": data, "outputs/last": data, "outputs/a": b"1", "outputs/b": b"1"}
    collect(target, "r", folder_workspace.objects, FOLDER)
    assert fetched(target) == ["outputs/a", "outputs/b", "outputs/best"]
    assert content(folder_workspace.objects) == target.runs["r"].files


@pytest.mark.parametrize("workspace", ["folder", pytest.param("s3", marks=pytest.mark.needs("s3"))], indirect=True)
@pytest.mark.parametrize("now", [None, b"", b"shorter", "same length"])
def test_content_that_is_not_there_any_more_is_brought(workspace, target, other, now):
    store = workspace.objects
    collect(target, "r", store, FOLDER)
    if now is None:
        store.remove(f"{FOLDER}/outputs/model.bin")
    else:
        store.put(f"{FOLDER}/outputs/model.bin", os.urandom(300_000) if now == "same length" else now)
    target.calls.clear()
    collect(target, "other", store, OTHER)
    assert "outputs/same.bin" in fetched(target)
    assert content(store, OTHER) == other.files


SPOILED = [
    b"", b"{", b"null", b"[]", b"{}", b'{"version": 2, "contents": []}', b'{"version": 1, "contents": [["a", ["b"]]]}',
    b'{"version": 1, "contents": 7}', b'{"version": 1, "contents": [["MODEL", ["experiments/e/../../r", 300000, ""]]]}',
    b'{"version": 1, "contents": [["MODEL", ["experiments/f/r/outputs/model.bin", 300000, ""]]]}',
]  # fmt: skip


@pytest.mark.parametrize("spoiled", SPOILED)
def test_a_damaged_index_costs_a_transfer_and_is_made_anew(folder_workspace, target, other, spoiled):
    store = folder_workspace.objects
    sha256 = hashlib.sha256(FILES["outputs/model.bin"]).hexdigest().encode()
    store.put(INDEX, spoiled.replace(b"MODEL", sha256))
    collect(target, "other", store, OTHER)
    assert fetched(target) == sorted(other.files)
    assert content(store, OTHER) == other.files
    target.calls.clear()
    collect(target, "r", store, FOLDER)
    assert "outputs/model.bin" not in fetched(target)


def test_the_index_keeps_the_latest(folder_workspace, target, monkeypatch):
    monkeypatch.setattr(contents, "MAX_CONTENTS", 3)
    store = folder_workspace.objects
    target.runs["r"].files = {f"outputs/{n}": os.urandom(contents.MIN_BYTES) for n in range(5)}
    collect(target, "r", store, FOLDER)
    kept = [place[0] for _, place in store.get_json(INDEX)["contents"]]
    assert kept == [f"{FOLDER}/outputs/{n}" for n in (2, 3, 4)]


def test_an_index_that_cannot_be_written_fails_no_collection(folder_workspace, target, other):
    store = folder_workspace.objects
    store.put("contents", b"a file in the way")
    collect(target, "r", store, FOLDER)
    collect(target, "other", store, OTHER)
    assert content(store, OTHER) == other.files


def test_a_target_that_sends_more_than_it_was_asked_for_is_refused(folder_workspace, target):
    class Generous(FakeTarget):
        def fetch(self, run_id, paths):
            yield from target.fetch(run_id, [*paths, "run.log"])

    generous = Generous()
    generous.runs = target.runs
    with pytest.raises(ProtocolError, match="more files than"):
        collect(generous, "r", folder_workspace.objects, FOLDER)
