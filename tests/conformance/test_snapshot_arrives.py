"""What was hashed is what runs: exact, whole, a copy of the run's own; and only what the target lacks travels."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid

import pytest

from airflow_provider.scriptrun.errors import SnapshotChangedError, TargetError
from airflow_provider.scriptrun.targets.contract import Outcome, Sent
from tests.conformance.client import PATIENCE_S
from tests.conformance.targets import Place
from tests.conformance.tree import Folder, Link, Program, Tree

#: Prints every path below the working directory with its kind and content, as JSON.
LOOK = """
import hashlib, json, os, stat
found = {}
for parent, folders, files in os.walk(b"."):
    for name in folders + files:
        path = os.path.join(parent, name)
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            kind, content = "l", os.readlink(path).hex()
        elif stat.S_ISDIR(mode):
            kind, content = "d", ""
        else:
            kind = "x" if mode & 0o100 else "f"
            content = hashlib.sha256(open(path, "rb").read()).hexdigest()
        found[path[2:].hex()] = [kind, content]
print(json.dumps(found))
"""
FOLDERS_OF_OURS = {b"outputs", b"logs", b"inputs"}


def unique() -> str:
    """Return content that no target has seen."""
    return uuid.uuid4().hex


def test_the_files_arrive_exactly(client):
    files = {
        "data/empty": b"",
        "data/binary": bytes(range(256)) * 1000,
        "tools/run.sh": Program(b"#!/bin/sh\nexit 0\n"),
        "a name with spaces, \u00fcml\u00e4uts and 'quotes'": "text",
        b"not \xff UTF-8": b"bytes",
        "new\nline": "line",
        "empty folder": Folder(),
        "link": Link(b"data/binary"),
        "deep/er/and/deeper/file": "deep",
    }
    followed = client.finish(LOOK, files=files)
    assert followed.end.exit_code == 0
    found = {bytes.fromhex(path): tuple(what) for path, what in json.loads(followed.log).items()}
    expected = {b"main.py": ("f", hashlib.sha256(LOOK.encode()).hexdigest())}
    for name, item in files.items():
        path = name.encode() if isinstance(name, str) else name
        if isinstance(item, Link):
            expected[path] = ("l", item.target.hex())
        elif isinstance(item, Folder):
            expected[path] = ("d", "")
        else:
            content = item.content if isinstance(item, Program) else item.encode() if isinstance(item, str) else item
            expected[path] = ("x" if isinstance(item, Program) else "f", hashlib.sha256(content).hexdigest())
    assert {path: what for path, what in found.items() if what[0] != "d"} == {
        path: what for path, what in expected.items() if what[0] != "d"
    }
    parents = {path.rsplit(b"/", count)[0] for path in expected for count in range(1, path.count(b"/") + 1)}
    assert {path for path, what in found.items() if what[0] == "d"} == parents | {b"empty folder"} | FOLDERS_OF_OURS


def test_a_start_without_the_files_says_so_and_touches_nothing(client, target):
    request, _tree = client.request(f"print('{unique()}')")
    started = target.start(request)
    assert (started.outcome, started.run_id, started.status) == (Outcome.MISSING, request.run_id, None)
    assert target.status([request.run_id]) == {}


def test_an_unchanged_tree_is_not_sent_again(client, target):
    request, tree = client.request(f"print('{unique()}')", files={"data": unique()})
    assert client.submit(request, tree).outcome is Outcome.ACCEPTED
    again, same = client.request(None, files={}, snapshot_id=tree.id)
    client.run_ids.append(again.run_id)
    assert target.start(again).outcome is Outcome.ACCEPTED
    assert target.send(tree) == Sent(files=0, bytes=0)
    assert len(tree.opened) == 2
    assert same.opened == []


def test_only_what_the_target_lacks_travels(client, target):
    known = {f"known/{number}": unique() * 100 for number in range(20)}
    first, second = Tree(known), Tree({**known, "changed": "new" + unique()})
    assert target.send(first) == Sent(files=20, bytes=20 * 3200)
    assert target.send(second) == Sent(files=1, bytes=35)
    assert len(first.opened) == 20
    assert len(second.opened) == 1


def test_the_same_content_under_two_names_travels_once(target):
    content = unique()
    tree = Tree({"one": content, "two": content, "three": Program(content.encode())})
    assert target.send(tree) == Sent(files=1, bytes=32)
    assert len(tree.opened) == 1


def wait_for_blobs(place: Place, tree: Tree, number: int) -> None:
    """Wait until so many blobs have arrived: a connection that breaks takes along all that is on its way."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        paths = place.run("find", f"{place.root}/blobs", "-type", "f", check=False).decode().split()
        if len(set(tree.blobs) & {os.path.basename(path) for path in paths}) >= number:
            return
    raise AssertionError(f"{len(paths)} files are there")


def test_what_arrived_before_the_connection_broke_is_not_sent_again(place):
    tree = Tree({f"file {number:02}": unique() * 10_000 for number in range(20)})
    tree.trouble, tree.troubled = KeyboardInterrupt(), tree.blobs[15]
    tree.before_trouble = lambda: wait_for_blobs(place, tree, 12)
    with place.open() as target, pytest.raises(KeyboardInterrupt):
        target.send(tree)
    assert len(tree.opened) == 16
    tree.opened, tree.trouble = [], None
    with place.open() as target:
        sent = target.send(tree)
    assert 5 <= sent.files <= 8  # the one that broke, those behind it, and what was still on its way
    assert len(tree.opened) == sent.files


def test_a_file_that_changed_since_it_was_hashed_is_refused_by_name(client, target):
    request, tree = client.request(f"print('{unique()}')")
    tree.troubled, tree.trouble = tree.blobs[0], SnapshotChangedError("training/main.py changed while it was sent")
    with pytest.raises(SnapshotChangedError, match=r"training/main\.py"):
        target.send(tree)
    assert target.start(request).outcome is Outcome.MISSING
    tree.trouble = None
    assert target.send(tree).files == 1
    assert client.submit(request, tree).outcome is Outcome.ACCEPTED


def test_bytes_that_are_not_what_was_hashed_are_never_kept(client, target):
    request, tree = client.request(f"print('{unique()}')")
    name = tree.blobs[0]
    truth = next(iter(tree.open_blob(name)))
    tree.lies[name] = b"X" + truth[1:]
    with pytest.raises(TargetError, match=name):
        target.send(tree)
    assert target.start(request).outcome is Outcome.MISSING
    tree.lies.clear()
    assert target.send(tree).files == 1


def test_progress_is_told_in_bytes_up_to_the_whole(target):
    tree = Tree({f"file {number}": unique() * (number + 1) for number in range(5)})
    told: list[tuple[int, int]] = []
    target.send(tree, progress=lambda done, total: told.append((done, total)))
    total = 32 * (1 + 2 + 3 + 4 + 5)
    assert told[-1] == (total, total)
    assert sorted(told) == told


def test_what_a_script_does_to_its_files_reaches_neither_another_run_nor_what_is_kept(client):
    script = """
import os, sys
print(open("data.txt").read(), sorted(os.listdir(".")), flush=True)
for name in ("data.txt", "main.py"):
    os.chmod(name, 0o600)
    with open(name, "r+") as file:
        file.write("damaged")
os.chmod("tool", 0o700)
open("tool", "a").write("more")
os.rename("sub", "sub2")
open("new", "w").close()
"""
    files = {"data.txt": f"original {unique()}", "tool": Program(b"tool"), "sub/file": "inner"}
    logs = [client.finish(script, files=files) for _ in range(3)]
    assert [followed.end.exit_code for followed in logs] == [0, 0, 0]
    assert len({followed.log for followed in logs}) == 1
    assert b"original" in logs[0].log
