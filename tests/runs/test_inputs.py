"""Inputs from paths and URLs, on the real local target and a real S3 server."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
from pathlib import Path

import pytest

from airflow_provider.scriptrun.config import ScriptRunConfig
from airflow_provider.scriptrun.errors import ConfigurationError, SnapshotChangedError, SnapshotError
from airflow_provider.scriptrun.runs import Experiment, Workspace, inputs, request, surroundings
from airflow_provider.scriptrun.runs.submission import submit
from airflow_provider.scriptrun.snapshot import address
from airflow_provider.scriptrun.targets import local
from tests.conformance.test_snapshot_arrives import LOOK
from tests.runs.fakes import Ears, FakeSurroundings
from tests.snapshot.trees import let_the_clock_pass, write


@pytest.fixture
def world(tmp_path):
    """Surroundings under a folder of the test's own, in use; ``source/look.py`` tells what it finds."""
    write(tmp_path / "source" / "look.py", LOOK)
    world = FakeSurroundings(tmp_path)
    previous = surroundings.use(world)
    yield world
    surroundings.use(previous)


@pytest.fixture
def ears():
    return Ears()


@pytest.fixture
def run(world, ears):
    """Run ``look.py`` with these inputs; return the run and what it found below ``inputs/``."""

    def run(workspace=None, **sources):
        submitted = submit(
            ScriptRunConfig("source", "look.py", inputs={name: str(source) for name, source in sources.items()}),
            workspace=workspace or Workspace.from_config(),
            experiment="churn",
            reporter=ears,
            surroundings=world,
        )
        submitted.wait_for_completion()
        log = b"".join(submitted.folder.read("run.log"))
        found = {bytes.fromhex(path).decode(): tuple(what) for path, what in json.loads(log).items()}
        return submitted, {path[7:]: what for path, what in found.items() if path.startswith("inputs/")}

    return run


@pytest.fixture
def bucket(s3_bucket):
    """A folder of a bucket, as ``s3://...``, and how to write into it."""
    import s3fs

    class Bucket:
        url = f"s3://{s3_bucket}/sets"
        file_system = s3fs.S3FileSystem()

        def write(self, name: str, content: str | bytes) -> None:
            data = content.encode() if isinstance(content, str) else content
            self.file_system.pipe_file(f"{s3_bucket}/sets/{name}", data)

    return Bucket()


def sha256(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def file(content: str | bytes) -> tuple[str, str]:
    return "f", sha256(content)


@pytest.fixture
def reads(monkeypatch):
    """The paths behind URLs that are read, in any order."""
    seen: list[str] = []
    read = address.Address.read

    def note(self, path):
        seen.append(path)
        return read(self, path)

    monkeypatch.setattr(address.Address, "read", note)
    return seen


@pytest.fixture
def sent(monkeypatch):
    """The hashes of what is sent to the local target."""
    seen: list[str] = []
    open_blob = inputs.Input.open_blob

    def note(self, sha256):
        seen.append(sha256)
        return open_blob(self, sha256)

    monkeypatch.setattr(inputs.Input, "open_blob", note)
    return seen


# Paths


def test_a_folder_and_a_file_come_with_everything_that_is_in_them(world, run, tmp_path):
    data = tmp_path / "sets"
    for name in (".gitignore", ".amlignore"):
        write(data / name, "*\n")
    write(data / ".git" / "HEAD", "ref")
    write(data / "__pycache__" / "x.pyc", "x")
    write(data / "outputs" / "y", "y")
    write(data / "venv" / "pyvenv.cfg", "home = /usr")
    write(data / "tool", "#!").chmod(0o755)
    (data / "link").symlink_to("tool")
    (data / "empty").mkdir()
    write(tmp_path / "labels.csv", "a,b\n")
    submitted, found = run(data="sets", labels=tmp_path / "labels.csv", uri=f"file://{tmp_path}/labels.csv")
    assert found == {
        "data": ("d", ""),
        "data/.gitignore": file("*\n"),
        "data/.amlignore": file("*\n"),
        "data/.git": ("d", ""),
        "data/.git/HEAD": file("ref"),
        "data/__pycache__": ("d", ""),
        "data/__pycache__/x.pyc": file("x"),
        "data/outputs": ("d", ""),
        "data/outputs/y": file("y"),
        "data/venv": ("d", ""),
        "data/venv/pyvenv.cfg": file("home = /usr"),
        "data/tool": ("x", sha256("#!")),
        "data/link": ("l", b"tool".hex()),
        "data/empty": ("d", ""),
        "labels": file("a,b\n"),
        "uri": file("a,b\n"),
    }
    record = submitted.record["inputs"]
    assert record["data"] == {
        "uri": str(data),
        "id": record["data"]["id"],
        "files": 7,
        "bytes": sum(path.stat().st_size for path in data.rglob("*") if path.is_file() and not path.is_symlink()),
        "sent_files": 6,
        "sent_bytes": record["data"]["sent_bytes"],
    }
    assert record["labels"]["uri"] == str(tmp_path / "labels.csv")
    assert record["labels"]["id"] == record["uri"]["id"]
    assert {"hash_inputs", "inputs"} <= submitted.record["phases"].keys()


def test_the_workspace_keeps_no_copy(world, run, tmp_path):
    content = secrets.token_bytes(100_000)
    write(tmp_path / "big", content)
    run(big="big")
    kept = b"".join(path.read_bytes() for path in (tmp_path / "workspace").rglob("*") if path.is_file())
    assert content not in kept


def test_what_did_not_change_is_neither_read_nor_sent_again(world, run, sent, tmp_path, monkeypatch):
    for number in range(3):
        write(tmp_path / "sets" / str(number), secrets.token_hex())
    write(tmp_path / "one", secrets.token_hex())
    let_the_clock_pass(tmp_path)
    run(data="sets", one="one")
    assert len(sent) == 4
    sent.clear()

    from airflow_provider.scriptrun.snapshot import hashing

    hashed = []
    monkeypatch.setattr(hashing, "_hash", lambda *arguments: hashed.append(arguments))
    submitted, found = run(data="sets", one="one")
    assert (sent, hashed) == ([], [])
    assert len(found) == 5
    assert submitted.record["inputs"]["one"]["sent_files"] == 0


def test_a_file_that_changed_is_read_and_sent_again(world, run, sent, tmp_path):
    write(tmp_path / "sets" / "a", "old a")
    write(tmp_path / "sets" / "b", "b")
    write(tmp_path / "one", "old")
    run(data="sets", one="one")
    sent.clear()
    write(tmp_path / "sets" / "a", "new a")
    write(tmp_path / "one", "new")
    _, found = run(data="sets", one="one")
    assert (found["data/a"], found["one"]) == (file("new a"), file("new"))
    assert sorted(sent) == sorted([sha256("new a"), sha256("new")])


def test_a_folder_is_remembered_apart_as_code_and_as_data(world, run, tmp_path):
    write(tmp_path / "source" / ".gitignore", "secret.txt\n")
    write(tmp_path / "source" / "secret.txt", "x")
    for _ in range(2):
        submitted, found = run(code="source")
        assert submitted.record["snapshot"]["files"] == 2
        assert "code/secret.txt" in found


def test_the_input_itself_may_be_a_link(world, run, tmp_path):
    write(tmp_path / "v2" / "a", "a")
    write(tmp_path / "v2.csv", "b")
    (tmp_path / "latest").symlink_to("v2")
    (tmp_path / "latest.csv").symlink_to("v2.csv")
    _, found = run(folder="latest", file="latest.csv")
    assert found == {"folder": ("d", ""), "folder/a": file("a"), "file": file("b")}


def test_a_run_goes_on_from_the_outputs_of_another(world, run, tmp_path):
    write(tmp_path / "source" / "make.py", "open('outputs/model', 'w').write('weights')")
    first = Experiment(Workspace.from_config(), "churn").submit(ScriptRunConfig("source", "make.py"))
    first.wait_for_completion()
    _, found = run(model=first.record["outputs"]["uri"])
    assert found == {"model": ("d", ""), "model/model": file("weights")}


# What cannot come


def refused(run, kind, **sources) -> str:
    with pytest.raises(kind) as caught:
        run(**sources)
    text = str(caught.value)
    assert f"config.inputs[{next(iter(sources))!r}]" in text
    assert ".gitignore" not in text or kind is ConfigurationError
    return text


def test_a_path_with_nothing_there_is_named_with_where_it_starts(world, run, tmp_path):
    text = refused(run, ConfigurationError, data="missing/set")
    assert str(tmp_path / "missing" / "set") in text
    assert f"a relative one starts at {tmp_path}" in text


@pytest.mark.parametrize("kind", ["fifo", "socket"])
@pytest.mark.parametrize("inside", [True, False], ids=["in a folder", "itself"])
def test_what_is_neither_file_nor_folder_is_named(world, run, tmp_path, monkeypatch, kind, inside):
    (tmp_path / "sets").mkdir()
    monkeypatch.chdir(tmp_path)
    if kind == "fifo":
        os.mkfifo("sets/odd")
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("sets/odd")
    error = SnapshotError if inside else ConfigurationError
    assert "odd" in refused(run, error, data="sets" if inside else "sets/odd")


def test_a_link_that_escapes_is_named(world, run, tmp_path):
    write(tmp_path / "sets" / "a")
    (tmp_path / "sets" / "up").symlink_to("../source")
    text = refused(run, SnapshotError, data="sets")
    assert "up leads to ../source, outside the data" in text


def test_a_file_that_goes_on_changing_is_named(world, run, tmp_path, monkeypatch):
    from airflow_provider.scriptrun.snapshot import folder, hashing

    one = write(tmp_path / "one", "x")
    read = hashing._hash

    def grow_and_read(root, path, before, progress):
        if path == "one":
            before = folder.STAT(one.stat()) if before is folder.IMPOSSIBLE_STAT else before
            with one.open("a") as file:
                file.write("more")
        return read(root, path, before, progress)

    monkeypatch.setattr(hashing, "_hash", grow_and_read)
    assert "one changed while it was read" in refused(run, SnapshotChangedError, data="one")


def test_what_changes_between_hashing_and_sending_is_named(world, run, tmp_path, monkeypatch):
    write(tmp_path / "sets" / "a", "as it was")
    send = local.LocalTarget.send

    def change_and_send(self, snapshot, **more):
        write(tmp_path / "sets" / "a", "another")
        return send(self, snapshot, **more)

    monkeypatch.setattr(local.LocalTarget, "send", change_and_send)
    assert "sets/a changed after" in refused(run, SnapshotChangedError, data="sets")


def test_a_clash_with_the_source_directory_is_refused(world, run, tmp_path):
    write(tmp_path / "sets" / "a")
    mine = write(tmp_path / "source" / "inputs" / "data" / "sample", "mine")
    assert "inputs/data" in refused(run, ConfigurationError, data="sets")
    write(tmp_path / "source" / ".gitignore", "/inputs/data/\n")
    _, found = run(data="sets")
    assert "data/sample" not in found
    mine.unlink()
    mine.parent.rmdir()
    mine.parent.parent.rmdir()
    write(tmp_path / "source" / "inputs", "a file")
    with pytest.raises(ConfigurationError, match=r"config\.inputs: .*inputs is no folder"):
        run(data="sets")


# URLs


@pytest.mark.needs("s3")
def test_a_prefix_and_an_object_come_from_object_storage(world, run, bucket):
    bucket.write("train/a.csv", "a")
    bucket.write("train/deep/er/\u00fcml\u00e4ut b", secrets.token_bytes(9) * 1_000_000)
    bucket.write("train/", "")
    bucket.write("train/empty", "")
    bucket.write("labels.csv", "labels")
    submitted, found = run(train=f"{bucket.url}/train", labels=f"{bucket.url}/labels.csv")
    assert found["labels"] == file("labels")
    assert {path for path, what in found.items() if what[0] == "f"} == {
        "labels", "train/a.csv", "train/deep/er/\u00fcml\u00e4ut b", "train/empty",
    }  # fmt: skip
    record = submitted.record["inputs"]["train"]
    assert (record["uri"], record["files"], record["bytes"]) == (f"{bucket.url}/train", 3, 9_000_001)
    assert record["sent_bytes"] == 9_000_001


@pytest.mark.slow
@pytest.mark.needs("s3")
def test_objects_that_did_not_change_are_not_read_again(world, run, bucket, reads, sent):
    for number in range(20):
        bucket.write(f"train/{number}", secrets.token_hex())
    run(train=f"{bucket.url}/train")
    assert len(reads) == 40, "once to be hashed, once to be sent"
    reads.clear()
    sent.clear()
    bucket.write("train/3", "changed")
    bucket.file_system.rm_file(f"{bucket.url}/train/4")
    submitted, found = run(train=f"{bucket.url}/train")
    assert reads == ["3", "3"]
    assert sent == [sha256("changed")]
    assert found["train/3"] == file("changed")
    assert submitted.record["inputs"]["train"]["files"] == 19
    reads.clear()
    run(train=f"{bucket.url}/train")
    assert reads == []


@pytest.mark.slow
@pytest.mark.needs("s3")
def test_the_outputs_of_a_run_in_object_storage_are_an_input(world, run, s3_bucket, tmp_path):
    workspace = Workspace(f"s3://{s3_bucket}/team")
    write(tmp_path / "source" / "make.py", "open('outputs/model', 'w').write('weights')")
    first = submit(ScriptRunConfig("source", "make.py"), workspace=workspace, experiment="churn", surroundings=world)
    first.wait_for_completion()
    uri = first.record["outputs"]["uri"]
    _, found = run(workspace, folder=uri, one=f"{uri}/model")
    assert found == {"folder": ("d", ""), "folder/model": file("weights"), "one": file("weights")}


@pytest.mark.needs("s3")
def test_an_object_that_changed_between_hashing_and_sending_is_named(world, run, bucket, monkeypatch):
    bucket.write("train/a", "as it was")
    send = local.LocalTarget.send

    def change_and_send(self, snapshot, **more):
        bucket.write("train/a", "another x")
        return send(self, snapshot, **more)

    monkeypatch.setattr(local.LocalTarget, "send", change_and_send)
    text = refused(run, SnapshotChangedError, data=f"{bucket.url}/train")
    assert f"{bucket.url}/train/a changed after it was hashed" in text


@pytest.mark.needs("s3")
def test_an_object_that_goes_on_changing_while_it_is_read_is_named(world, run, bucket, monkeypatch):
    bucket.write("train/a", "a")
    bucket.write("train/b", "b")
    read = address.Address.read

    def write_behind(self, path):
        yield from read(self, path)
        if path == "b":
            bucket.write("train/b", secrets.token_hex())

    monkeypatch.setattr(address.Address, "read", write_behind)
    text = refused(run, SnapshotChangedError, data=f"{bucket.url}/train")
    assert f"{bucket.url}/train/b changed while it was read" in text


@pytest.mark.needs("s3")
def test_an_object_that_changed_once_while_it_was_read_comes_as_it_is_now(world, run, bucket, monkeypatch, reads):
    bucket.write("train/a", "a")
    bucket.write("train/b", "b")
    read, once = address.Address.read, []

    def write_behind(self, path):
        yield from read(self, path)
        if path == "b" and not once:
            once.append(path)
            bucket.write("train/b", "now")

    monkeypatch.setattr(address.Address, "read", write_behind)
    _, found = run(data=f"{bucket.url}/train")
    assert found["data/b"] == file("now")
    assert reads.count("a") == 2, "hashed once, sent once"


@pytest.mark.needs("s3")
@pytest.mark.parametrize("path", ["nothing", "nothing/", "train/a/b"])
def test_an_address_with_nothing_there_is_named(world, run, bucket, path):
    bucket.write("train/a", "a")
    assert f"There is nothing at {bucket.url}/{path}" in refused(run, SnapshotError, data=f"{bucket.url}/{path}")


def test_a_bucket_that_cannot_be_reached_is_an_error_with_its_reason(world, run):
    text = refused(run, SnapshotError, data="http://127.0.0.1:9/data.csv")
    assert "http://127.0.0.1:9/data.csv" in text


def test_an_address_of_an_unknown_kind_names_what_to_do(world, run):
    text = refused(run, ConfigurationError, data="nosuchthing://a/b")
    assert "Install the fsspec package" in text


def test_what_has_no_mark_of_change_is_read_each_time(world, run, reads):
    import fsspec

    memory = fsspec.filesystem("memory")
    root = f"/{secrets.token_hex(6)}"
    memory.pipe_file(f"{root}/a", b"one")
    for content in (b"one", b"two"):
        memory.pipe_file(f"{root}/a", content)
        _, found = run(data=f"memory:/{root}")
        assert found["data/a"] == file(content)
    assert len(reads) == 4


def test_a_url_within_a_url_opens_an_archive(world, run, tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "sets.zip", "w") as archive:
        archive.writestr("deep/a.csv", "a")
    _, found = run(data=f"zip://deep/a.csv::file://{tmp_path}/sets.zip")
    assert found == {"data": file("a")}


def test_names_that_make_no_tree_are_refused(world, run):
    import fsspec

    memory = fsspec.filesystem("memory")
    root = f"/{secrets.token_hex(6)}"
    memory.store[f"{root}/a//b"] = memory.open(f"{root}/x", "wb")
    memory.pipe_file(f"{root}/x", b"x")
    assert "is no tree of files" in refused(run, SnapshotError, data=f"memory:/{root}")


# Secrets


def test_a_credential_is_looked_up_masked_and_told_to_nobody(world, run, monkeypatch, tmp_path):
    monkeypatch.setenv("STORAGE_PASSWORD", "s3cr3t!")
    with pytest.raises(SnapshotError) as caught:
        run(data="ftp://user:${STORAGE_PASSWORD}@127.0.0.1:9/set?token=t0k3n")
    text = str(caught.value)
    assert "ftp://127.0.0.1:9/set" in text
    assert "s3cr3t!" not in text
    assert "t0k3n" not in text
    assert "s3cr3t!" in world.masked


def test_a_credential_that_is_not_set_is_named(world, run, monkeypatch):
    monkeypatch.delenv("STORAGE_PASSWORD", raising=False)
    assert "STORAGE_PASSWORD is not set" in refused(run, ConfigurationError, data="ftp://u:${STORAGE_PASSWORD}@h/x")


# Airflow's own addresses, and the documentation


def test_a_path_with_a_connection_is_opened_by_it(world, run):
    import fsspec

    memory = fsspec.filesystem("memory")
    bucket = secrets.token_hex(6)
    memory.pipe_file(f"/{bucket}/sets/a", b"a")
    world.file_systems["s3", "my_aws"] = memory
    submitted, found = run(data=f"s3://my_aws@{bucket}/sets")
    assert found == {"data": ("d", ""), "data/a": file("a")}
    assert submitted.record["inputs"]["data"]["uri"] == f"s3://my_aws@{bucket}/sets"


def test_an_account_of_azure_is_no_connection(world, run):
    world.file_systems.clear()
    refused(run, (SnapshotError, ConfigurationError), data="abfs://container@account.dfs.core.windows.net/sets")


def test_the_example_of_the_documentation_runs(world, tmp_path, monkeypatch, capsys):
    text = Path(__file__).parents[2].joinpath("docs", "configuration.md").read_text()
    example = text.partition("<!-- inputs example -->")[2].split("```")[1].removeprefix("python\n")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/configuration.md", "exec"), {})
    assert "2 rows" in capsys.readouterr().out


def test_the_signature_of_an_address_is_kept_nowhere():
    signed = "https://bucket.example/data.csv"
    sources = {"a": f"{signed}?X-Amz-Signature=hunter2", "b": "data.txt"}
    kept = request._plain(ScriptRunConfig("source", "look.py", inputs=sources))
    assert kept["inputs"] == {"a": signed, "b": "data.txt"}
