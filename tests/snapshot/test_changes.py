"""Files that change under the snapshot's hands: what is sent is what was hashed, or it is refused by name."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider.scriptrun.errors import SnapshotChangedError
from airflow_provider.scriptrun.snapshot import hashing, take
from airflow_provider.scriptrun.supervisor.protocol.frames import CHUNK_BYTES
from tests.snapshot.trees import fresh, let_the_clock_pass, paths, write


def once(action):
    """Return a progress callback that acts the first time it is called."""
    left = [action]
    return lambda *_: left and left.pop()()


def test_a_file_that_changed_before_it_was_read_is_taken_as_it_is_now(tmp_path):
    for number in range(5):
        write(tmp_path / f"f{number}", f"old {number}")
    seen = []

    def rewrite_all() -> None:
        for number in range(5):
            write(tmp_path / f"f{number}", f"new {number} and longer")
        seen.append(True)

    snapshot = fresh(tmp_path, progress=once(rewrite_all))
    assert seen
    for entry in snapshot.entries:
        source = snapshot.open_blob(entry.content.decode())
        assert entry.size in (5, 16)
        if entry.size == 16:
            assert hashlib.sha256(source.read()).hexdigest() == source.sha256
    assert sum(entry.size == 16 for entry in snapshot.entries) == 4


def write_while_hashing(monkeypatch: pytest.MonkeyPatch, file: Path, times: int) -> list[bytes]:
    """Append to a file between the moments when it is opened and when it is looked at after reading, so many times."""
    real = hashlib.sha256
    reads: list[bytes] = []

    def sha256(data: bytes = b""):
        if data.startswith(b"growing"):
            reads.append(data)
            if len(reads) <= times:
                with file.open("ab") as log:
                    log.write(b"+")
        return real(data)

    monkeypatch.setattr(hashlib, "sha256", sha256)
    return reads


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    file = write(tmp_path / "growing.log", b"growing")
    reads = write_while_hashing(monkeypatch, file, 1)
    snapshot = fresh(tmp_path)
    assert reads == [b"growing", b"growing+"]
    assert snapshot.entries[0].size == 8
    assert snapshot.open_blob(snapshot.entries[0].content.decode()).read() == b"growing+"


def test_a_file_that_goes_on_changing_is_refused_by_name(tmp_path, monkeypatch):
    write(tmp_path / "still")
    file = write(tmp_path / "growing.log", b"growing")
    reads = write_while_hashing(monkeypatch, file, 1000)
    with pytest.raises(SnapshotChangedError, match=r"growing\.log"):
        fresh(tmp_path)
    assert len(reads) == 2


def test_a_file_written_in_place_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    file = write(tmp_path / "growing.log", b"growing")
    real = hashlib.sha256
    left = [b"grown!!"]

    def sha256(data: bytes = b""):
        if data == b"growing" and left:
            let_the_clock_pass(tmp_path.parent)
            file.write_bytes(left.pop())
        return real(data)

    monkeypatch.setattr(hashlib, "sha256", sha256)
    entry = fresh(tmp_path).entries[0]
    assert entry.content.decode() == real(b"grown!!").hexdigest()


def test_a_file_that_moved_while_the_tree_was_read_is_found_at_its_new_place(tmp_path):
    for number in range(5):
        write(tmp_path / f"f{number}", f"{number}")
    before = fresh(tmp_path)

    def move_all() -> None:
        for number in range(5):
            (tmp_path / f"f{number}").rename(tmp_path / f"g{number}")

    snapshot = fresh(tmp_path, progress=once(move_all))
    assert paths(snapshot) == {f"g{number}" for number in range(5)}
    assert {entry.content for entry in snapshot.entries} == {entry.content for entry in before.entries}


def test_a_tree_whose_files_come_and_go_is_refused(tmp_path, monkeypatch):
    write(tmp_path / "steady")
    real = hashing._hash

    def vanish(root: int, path: str, *rest):
        if path == "volatile":
            (tmp_path / "volatile").unlink()
            try:
                return real(root, path, *rest)
            finally:
                write(tmp_path / "volatile")
        return real(root, path, *rest)

    write(tmp_path / "volatile")
    monkeypatch.setattr(hashing, "_hash", vanish)
    with pytest.raises(SnapshotChangedError, match="volatile"):
        fresh(tmp_path)


def test_a_file_that_has_not_the_size_that_it_says_is_refused(tmp_path, monkeypatch):
    write(tmp_path / "odd", b"four")  # as files of some file systems in user space, and of /proc
    real = hashing.STAT
    monkeypatch.setattr(hashing, "STAT", lambda facts: (*real(facts)[:2], 0, *real(facts)[3:]))
    with pytest.raises(SnapshotChangedError, match="odd"):
        fresh(tmp_path)


def test_progress_is_told_within_a_large_file(tmp_path):
    write(tmp_path / "a", b"x" * 3_000_000)
    write(tmp_path / "b", b"x")
    told: list[tuple[int, int]] = []
    fresh(tmp_path, progress=lambda *done: told.append(done))
    assert told[-1] == (2, 3_000_001)
    assert len(told) > 4
    assert told == sorted(told)


def test_a_file_that_became_a_pipe_is_not_waited_for(tmp_path):
    for name in "ab":
        write(tmp_path / name)

    def make_pipes() -> None:
        for name in "ab":
            (tmp_path / name).unlink()
            os.mkfifo(tmp_path / name)

    with pytest.raises(Exception, match="a FIFO"):
        fresh(tmp_path, progress=once(make_pipes))


@pytest.fixture
def large(tmp_path):
    content = os.urandom(3 * CHUNK_BYTES + 17)
    file = write(tmp_path / "model.bin", content)
    return fresh(tmp_path), file, content


def test_a_blob_comes_in_chunks_and_whole(large):
    snapshot, file, content = large
    blob = snapshot.open_blob(hashlib.sha256(content).hexdigest())
    chunks = list(blob)
    assert [len(chunk) for chunk in chunks] == [CHUNK_BYTES] * 3 + [17]
    assert b"".join(chunks) == content == blob.read()
    assert (blob.size, blob.path) == (len(content), str(file))
    assert snapshot.locate(blob.sha256) == file


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES])
def test_blobs_of_every_size_come_whole(size, tmp_path):
    content = os.urandom(size)
    write(tmp_path / "file", content)
    blob = fresh(tmp_path).open_blob(hashlib.sha256(content).hexdigest())
    chunks = list(blob)
    assert b"".join(chunks) == content
    assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in chunks)


@pytest.mark.parametrize(
    "harm",
    [
        lambda file, content: file.write_bytes(content[:-1] + bytes([content[-1] ^ 1])),
        lambda file, content: file.write_bytes(content[:-1]),
        lambda file, content: file.write_bytes(content[: CHUNK_BYTES * 2]),
        lambda file, content: file.write_bytes(b""),
        lambda file, content: file.unlink(),
        lambda file, content: (file.unlink(), file.symlink_to("/etc/hostname")),
        lambda file, content: (file.unlink(), file.mkdir()),
    ],
    ids=["a byte differs", "shorter by a byte", "shorter by a chunk", "empty", "gone", "a link now", "a folder now"],
)
def test_a_blob_that_changed_after_the_snapshot_is_never_handed_out_whole(harm, large):
    snapshot, file, content = large
    harm(file, content)
    received = []
    with pytest.raises(SnapshotChangedError, match=r"model\.bin"):
        received.extend(snapshot.open_blob(hashlib.sha256(content).hexdigest()))
    assert sum(map(len, received)) < len(content)


def test_what_was_appended_after_the_snapshot_is_not_sent(large):
    snapshot, file, content = large
    with file.open("ab") as more:
        more.write(b"more")
    assert snapshot.open_blob(hashlib.sha256(content).hexdigest()).read() == content


def test_a_hash_that_is_not_in_the_snapshot_has_no_blob(large):
    with pytest.raises(KeyError):
        large[0].open_blob("0" * 64)


def test_the_same_bytes_in_two_files_are_one_blob(tmp_path):
    write(tmp_path / "a", b"same")
    write(tmp_path / "b", b"same")
    snapshot = fresh(tmp_path)
    assert len({entry.content for entry in snapshot.entries}) == 1
    assert snapshot.open_blob(hashlib.sha256(b"same").hexdigest()).read() == b"same"


def test_blobs_are_found_when_nothing_was_hashed(tmp_path):
    write(tmp_path / "code/a", b"same")
    for _ in range(2):
        snapshot = take(tmp_path / "code", cache_directory=tmp_path / "cache")
        assert snapshot.open_blob(hashlib.sha256(b"same").hexdigest()).read() == b"same"


_PEAK_OF_A_LARGE_FILE = """
import pathlib, resource, sys
from airflow_provider.scriptrun.snapshot import take
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
root = pathlib.Path(sys.argv[1])
take(root / "small", cache_directory=root / "cache")
before = peak()
snapshot = take(root / "large", cache_directory=root / "cache")
for entry in snapshot.entries:
    for chunk in snapshot.open_blob(entry.content.decode()):
        pass
print(peak() - before)
"""


@pytest.mark.slow
def test_a_file_of_two_gigabytes_is_never_in_memory(tmp_path):
    write(tmp_path / "small/a")
    large = write(tmp_path / "large/a")
    os.truncate(large, 2 * 1024**3)  # sparse: read as zeros, takes no space
    result = subprocess.run(
        [sys.executable, "-c", _PEAK_OF_A_LARGE_FILE, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(result.stdout) < 16 * 1024  # kB
