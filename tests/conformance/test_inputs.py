"""Data comes into ``inputs/<name>`` exactly, travels once, and is each run's own."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import replace

import pytest

from airflow_provider.scriptrun.errors import SnapshotChangedError, TargetRefusedError
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets.contract import Limits, Outcome, Sent, StagedInput
from tests.conformance.client import GRACE_S
from tests.conformance.test_snapshot_arrives import LOOK
from tests.conformance.tree import Folder, Link, OneFile, Program, Tree

MEBIBYTE = 1024 * 1024


def unique() -> str:
    """Return content that no target has seen."""
    return uuid.uuid4().hex


def look(followed) -> dict[bytes, tuple[str, str]]:
    """Return what the script found below ``inputs/``."""
    assert followed.end.exit_code == 0, followed.log
    found = {bytes.fromhex(path): tuple(what) for path, what in json.loads(followed.log).items()}
    return {path.removeprefix(b"inputs/"): what for path, what in found.items() if path.startswith(b"inputs/")}


def sha256(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def test_folders_and_files_arrive_exactly(client):
    folder = {
        "train.csv": f"a,b\n{unique()}\n",
        "deep/er/binary": bytes(range(256)) * 1000,
        "tool": Program(b"#!/bin/sh\n"),
        "latest": Link(b"train.csv"),
        "empty": Folder(),
        ".git/HEAD": "ref",
        "outputs/kept": "kept",
        b"not \xff UTF-8": b"odd",
    }
    inputs = {
        "data": Tree(folder),
        "model.bin": OneFile(b"weights"),
        "run-me": OneFile(Program(b"#!")),
        "none": Tree({}),
    }
    assert look(client.finish(LOOK, inputs=inputs)) == {
        b"data": ("d", ""),
        b"data/train.csv": ("f", sha256(folder["train.csv"])),
        b"data/deep": ("d", ""),
        b"data/deep/er": ("d", ""),
        b"data/deep/er/binary": ("f", sha256(folder["deep/er/binary"])),
        b"data/tool": ("x", sha256(b"#!/bin/sh\n")),
        b"data/latest": ("l", b"train.csv".hex()),
        b"data/empty": ("d", ""),
        b"data/.git": ("d", ""),
        b"data/.git/HEAD": ("f", sha256("ref")),
        b"data/outputs": ("d", ""),
        b"data/outputs/kept": ("f", sha256("kept")),
        b"data/not \xff UTF-8": ("f", sha256("odd")),
        b"model.bin": ("f", sha256("weights")),
        b"run-me": ("x", sha256("#!")),
        b"none": ("d", ""),
    }


def test_what_the_snapshot_has_in_inputs_stays_beside_them(client):
    files = {"inputs/notes.txt": "mine"}
    assert look(client.finish(LOOK, files=files, inputs={"data": OneFile(unique())})).keys() == {b"notes.txt", b"data"}


def test_a_start_names_every_snapshot_that_is_missing_and_touches_nothing(client, target):
    known, new = Tree({"a": unique()}), Tree({"b": unique()})
    target.send(known)
    request, tree = client.request(f"print('{unique()}')", inputs={"known": known, "new": new, "again": new})
    started = target.start(request)
    assert (started.outcome, started.missing) == (Outcome.MISSING, (tree.id, new.id))
    assert target.status([request.run_id]) == {}


def test_an_unchanged_input_is_not_sent_again(client, target):
    data = Tree({f"part {number}": unique() for number in range(5)})
    first, tree = client.request(f"print('{unique()}')", inputs={"data": data})
    assert client.submit(first, tree).outcome is Outcome.ACCEPTED
    assert len(data.opened) == 5
    second, other = client.request(f"print('{unique()}')", inputs={"renamed": data})
    assert target.start(second).missing == (other.id,)
    assert client.submit(second, other).outcome is Outcome.ACCEPTED
    assert len(data.opened) == 5
    assert target.send(data) == Sent(files=0, bytes=0)


def test_of_a_changed_input_only_what_changed_travels(client, target):
    parts = {f"part {number}": unique() for number in range(20)}
    client.finish("", inputs={"data": Tree(parts)})
    changed = Tree({**parts, "part 3": unique(), "new": unique()})
    client.finish("", inputs={"data": changed})
    assert len(changed.opened) == 2


def test_content_that_the_code_has_too_travels_once(client, target):
    content = unique()
    data = OneFile(content)
    request, tree = client.request(f"# {unique()}", files={"copy": content}, inputs={"data": data})
    client.submit(request, tree)
    assert len([*tree.opened, *data.opened]) == 2, "main.py, and the content that both have"


def test_what_a_script_does_to_its_inputs_reaches_neither_the_store_nor_another_run(client):
    script = """
import os, shutil
print(open("inputs/data/a").read(), open("inputs/file").read(), sorted(os.listdir("inputs/data")), flush=True)
for name in ("inputs/data/a", "inputs/file"):
    os.chmod(name, 0o600)
    with open(name, "r+") as file:
        file.write("damaged")
    with open(name, "a") as file:
        file.write("more")
os.remove("inputs/data/b")
open("inputs/data/new", "w").close()
"""
    inputs = {"data": Tree({"a": f"original {unique()}", "b": Program(b"b")}), "file": OneFile(unique())}
    logs = [client.finish(script, inputs=inputs) for _ in range(3)]
    assert [followed.end.exit_code for followed in logs] == [0, 0, 0]
    assert len({followed.log for followed in logs}) == 1
    assert b"original" in logs[0].log


def test_a_big_file_arrives_whole(client):
    content = (unique() * (MEBIBYTE // 32) + "odd end") * 40
    followed = client.finish(LOOK, inputs={"big": OneFile(content)})
    assert look(followed) == {b"big": ("f", sha256(content))}
    assert followed.end.phases["inputs"] > 0


def test_inputs_are_in_place_before_the_script_and_go_with_its_working_copy(client, target):
    followed = client.finish("import os; print(os.listdir('inputs'))", inputs={"data": OneFile(unique())})
    assert followed.log == b"['data']\n"
    assert "data" not in {file.path for file in target.files(followed.run_id)}


def test_a_store_that_was_cleaned_asks_again(fresh_client, fresh_place):
    target, data = fresh_client.target, Tree({"a": unique(), "b": unique()})
    first, tree = fresh_client.request("", inputs={"data": data}, limits=Limits(grace_s=GRACE_S))
    assert fresh_client.follow(fresh_client.submit(first, tree).run_id).end.status is Status.COMPLETED
    make_old(fresh_place)
    assert target.clean(Limits(budget_bytes=0))["snapshots"] == 2
    second, _ = fresh_client.request("", inputs={"data": data})
    assert set(target.start(second).missing) == {tree.id, data.id}
    assert fresh_client.follow(fresh_client.submit(second, tree).run_id).end.status is Status.COMPLETED
    assert len(data.opened) == 4


def make_old(place) -> None:
    """Let nothing on the target look as if it had just been used: that is never cleaned away."""
    place.run("find", place.root, "-type", "f", "-exec", "touch", "-d", "2001-01-01", "{}", "+")


def test_what_changed_since_it_was_hashed_is_refused_by_name(client, target):
    data = Tree({"a": unique()})
    request, tree = client.request("", inputs={"data": data})
    data.troubled, data.trouble = data.blobs[0], SnapshotChangedError("data/a changed while it was sent")
    with pytest.raises(SnapshotChangedError, match="data/a"):
        client.submit(request, tree)
    assert target.start(request).missing[-1] == data.id


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", ".hidden", "-dash", "a\0b", "x" * 256])
def test_a_name_that_leads_elsewhere_is_refused(client, target, name):
    data = OneFile("data")
    request, _tree = client.request("", inputs={name: data})
    with pytest.raises(TargetRefusedError, match="name of an input"):
        target.start(request)


CLASHES = {
    "a file of that name": ({"inputs/data": "mine"}, OneFile("theirs"), "inputs/data"),
    "a folder of that name": ({"inputs/data/a": "mine"}, Tree({"b": "theirs"}), "inputs/data"),
    "inputs is a file": ({"inputs": "mine"}, OneFile("theirs"), "inputs is no folder"),
    "inputs leads elsewhere": (
        {"inputs": Link(b"elsewhere"), "elsewhere": Folder()},
        OneFile("x"),
        "inputs is no folder",
    ),
}


@pytest.mark.parametrize(("files", "data", "message"), CLASHES.values(), ids=CLASHES)
def test_a_snapshot_that_stands_in_the_way_ends_the_run_by_name(client, files, data, message):
    end = client.finish("", files=files, inputs={"data": data}).end
    assert (end.status, end.reason) == (Status.FAILED, Reason.SNAPSHOT)
    assert message in end.message


def test_a_file_that_is_a_folder_after_all_ends_the_run(client, target):
    data = Tree({"a": "1", "b": "2"})
    target.send(data)
    request, tree = client.request("")
    request = replace(request, inputs={"data": StagedInput(data.id, is_file=True)})
    end = client.follow(client.submit(request, tree).run_id).end
    assert (end.status, end.reason) == (Status.FAILED, Reason.SNAPSHOT)
