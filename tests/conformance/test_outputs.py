"""Outputs come back: after success and after failure, verified, streamed, from any byte."""

from __future__ import annotations

import hashlib

import pytest

from airflow_provider.scriptrun.errors import TargetError, UnknownRunError

SCRIPT = """
import os, sys
os.makedirs("outputs/models/deep")
open("outputs/models/deep/model.bin", "wb").write(bytes(range(256)) * 100_000)
open("outputs/metrics.json", "w").write("{}")
open("logs/train.log", "w").write("epoch 1")
open("outputs/empty", "w").close()
open(b"outputs/not \\xff UTF-8", "w").write("odd")
open("elsewhere", "w").write("stays")
os.symlink("/etc/passwd", "outputs/leaves")
os.symlink("metrics.json", "outputs/stays")
os.mkfifo("outputs/fifo")
print("written")
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.core
@pytest.mark.parametrize("code", ["0", "5"])
def test_what_a_script_left_is_listed_and_comes_verified(client, target, code):
    followed = client.finish(SCRIPT, argv=("python", "main.py", code))
    assert followed.end.exit_code == int(code)
    listing = target.files(followed.run_id)
    files = {file.path: file for file in listing}
    contents = fetch(target, followed.run_id, list(files))
    assert {name for name in files if name.startswith(("outputs/", "logs/"))} >= {
        "outputs/models/deep/model.bin",
        "outputs/metrics.json",
        "outputs/empty",
        "outputs/not \udcff UTF-8",
        "logs/train.log",
    }
    assert contents["outputs/models/deep/model.bin"] == bytes(range(256)) * 100_000
    assert contents["logs/train.log"] == b"epoch 1"
    assert contents["outputs/empty"] == b""
    assert contents["run.log"] == b"written\n"
    assert not {"outputs/leaves", "outputs/fifo", "elsewhere"} & set(files)
    assert set(listing.skipped) == {"outputs/leaves", "outputs/fifo"}
    assert listing.skipped_count == 2
    for name, content in contents.items():
        assert (files[name].size, files[name].sha256) == (len(content), hashlib.sha256(content).hexdigest())


def fetch(target, run_id, paths) -> dict[str, bytes]:
    """Fetch files whole."""
    return {file.path: b"".join(file.chunks) for file in target.fetch(run_id, paths)}


def test_a_list_without_hashes_has_paths_and_sizes(client, target):
    followed = client.finish(SCRIPT, argv=("python", "main.py", "0"))
    listed = {(file.path, file.size) for file in target.files(followed.run_id)}
    quick = target.files(followed.run_id, hashed=False)
    assert {(file.path, file.size) for file in quick} == listed
    assert {file.sha256 for file in quick} == {""}


def test_a_file_can_be_fetched_from_any_byte(client, target):
    followed = client.finish("open('outputs/file', 'w').write('0123456789')")
    wanted = [("outputs/file", 4), ("outputs/file", 10), ("outputs/file", 0)]
    found = [(file.offset, file.size, b"".join(file.chunks)) for file in target.fetch(followed.run_id, wanted)]
    assert found == [(4, 10, b"456789"), (10, 10, b""), (0, 10, b"0123456789")]


def test_a_file_that_cannot_be_fetched_does_not_stop_those_behind_it(client, target):
    followed = client.finish("open('outputs/file', 'w').write('here')")
    first, second = None, None
    for file in target.fetch(followed.run_id, ["outputs/missing", "outputs/file"]):
        if file.path == "outputs/missing":
            with pytest.raises(TargetError, match="missing"):
                b"".join(file.chunks)
            first = file.path
        else:
            second = b"".join(file.chunks)
    assert (first, second) == ("outputs/missing", b"here")


@pytest.mark.parametrize(
    "path", ["../../../etc/passwd", "/etc/passwd", "outputs/../status.json", "code/main.py", "status.json"]
)
def test_nothing_but_what_a_run_left_for_us_can_be_fetched(client, target, path):
    followed = client.finish("print('x')")
    with pytest.raises(TargetError):
        fetch(target, followed.run_id, [path])


def test_whoever_has_enough_of_a_file_goes_on_with_the_next(client, target):
    followed = client.finish("open('outputs/a', 'w').write('a' * 1_000_000); open('outputs/b', 'w').write('b')")
    parts = []
    for file in target.fetch(followed.run_id, ["outputs/a", "outputs/b"]):
        parts.append(next(file.chunks))
    assert parts[1] == b"b"
    assert set(parts[0]) == {ord("a")}


def test_a_fetch_that_is_given_up_leaves_the_target_usable(client, target):
    followed = client.finish("open('outputs/a', 'w').write('a' * 1_000_000)")
    files = target.fetch(followed.run_id, ["outputs/a"])
    next(next(files).chunks)
    files.close()
    assert fetch(target, followed.run_id, ["outputs/a"])["outputs/a"] == b"a" * 1_000_000


def test_a_run_that_nobody_knows_has_no_files(target):
    with pytest.raises(UnknownRunError):
        target.files("nobody")


def test_the_exact_package_list_of_the_environment_can_be_fetched(client, target):
    followed = client.finish("print('x')")
    content = fetch(target, followed.run_id, ["packages.txt"])["packages.txt"].decode()
    assert len(content.splitlines()) == followed.end.environment.packages
    assert all("==" in line or " @ " in line for line in content.splitlines())
