"""Snapshots of data: everything in a folder, one file, what lies behind a URL."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import secrets
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider.scriptrun.errors import SnapshotChangedError, SnapshotError
from airflow_provider.scriptrun.snapshot import Address, single_file, take, take_file, take_url
from airflow_provider.scriptrun.snapshot.address import SETTLED_SECONDS, found
from airflow_provider.scriptrun.snapshot.digests import Digest, Digests
from airflow_provider.scriptrun.supervisor.protocol import manifest
from tests.snapshot.trees import NO_LIMITS, expected, let_the_clock_pass, plant, scratch, trees, write

#: Names that never travel with code, as folders with something in them.
LEFT_OUT_OF_CODE = [b".git", b"__pycache__", b"outputs", b"logs", b"conda-meta"]


def whole(folder: Path, cache: Path):
    return take(folder, cache_directory=cache, limits=NO_LIMITS, everything=True)


# Folders


@settings(max_examples=40)
@given(trees, st.sampled_from(LEFT_OUT_OF_CODE))
def test_everything_in_a_folder_is_in_its_snapshot(tree, name):
    from tests.snapshot.trees import File

    tree = {**tree, name: {b"in it": File(b"x")}, b".gitignore": File(b"*\n"), b".amlignore": File(b"*\n")}
    tree[b"pyvenv.cfg"] = File(b"home = /usr")
    with scratch() as folder:
        (folder / "data").mkdir()
        plant(folder / "data", tree)
        for _ in range(2):
            assert whole(folder / "data", folder / "cache").manifest == manifest.encode(expected(tree))


def test_the_cache_in_a_folder_of_data_does_not_travel(tmp_path):
    write(tmp_path / "a", "a")
    for _ in range(2):
        snapshot = whole(tmp_path, tmp_path / "cache")
        assert [entry.path for entry in snapshot.entries] == [b"a"]


# One file


@settings(max_examples=30)
@given(st.binary(max_size=3000), st.booleans())
def test_a_file_has_the_id_of_its_content_and_its_executable_bit(content, executable):
    with scratch() as folder:
        ids = set()
        for name in ("one", "another \xe9\n"):
            path = write(folder / name, content)
            path.chmod(0o755 if executable else 0o644)
            listed = take_file(path, cache_directory=folder / "cache")
            assert b"".join(listed.open_blob(hashlib.sha256(content).hexdigest())) == content
            assert (listed.files, listed.bytes, listed.is_file) == (1, len(content), True)
            ids.add(listed.id)
        kind = "x" if executable else "f"
        entry = manifest.Entry(b"file", kind, len(content), hashlib.sha256(content).hexdigest().encode())
        assert ids == {manifest.snapshot_id(manifest.encode([entry]))}


@pytest.fixture
def hashed(monkeypatch):
    """The files that are read to be hashed."""
    seen: list[str] = []
    read = single_file._hash

    def note(path, progress):
        seen.append(path.name)
        return read(path, progress)

    monkeypatch.setattr(single_file, "_hash", note)
    return seen


CHANGES = {
    "other content": lambda path: path.write_bytes(b"2"),
    "the same length": lambda path: path.write_bytes(b"3"),
    "executable": lambda path: path.chmod(0o755),
    "replaced": lambda path: write(path.with_name("new"), b"1").rename(path),
    "an older time": lambda path: (path.write_bytes(b"4"), os.utime(path, (1, 1))),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_is_read_again_only_when_it_changed(tmp_path, hashed, change):
    path = write(tmp_path / "data", b"1")
    let_the_clock_pass(tmp_path)
    for _ in range(3):
        take_file(path, cache_directory=tmp_path / "cache")
    assert hashed == ["data"]
    change(path)
    listed = take_file(path, cache_directory=tmp_path / "cache")
    assert hashed == ["data", "data"]
    assert listed.id == take_file(path, cache_directory=tmp_path / "fresh").id


def test_a_file_that_was_just_written_is_not_trusted(tmp_path, hashed):
    path = write(tmp_path / "data", b"1")
    take_file(path, cache_directory=tmp_path / "cache")
    stat = path.stat()
    path.write_bytes(b"2")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    listed = take_file(path, cache_directory=tmp_path / "cache")
    assert listed.entries[0].content == hashlib.sha256(b"2").hexdigest().encode()


def test_a_file_that_nobody_may_read_or_that_is_gone_is_named(tmp_path):
    with pytest.raises(SnapshotError, match="gone"):
        take_file(tmp_path / "gone", cache_directory=tmp_path / "cache")


def test_a_large_file_takes_no_memory(tmp_path):
    """A child of 64 MB of address space more than it needs at rest hashes 300 MB, and reads them again."""
    with (tmp_path / "big").open("wb") as file:
        file.truncate(300_000_000)
    code = """
import resource, sys
from pathlib import Path
from airflow_provider.scriptrun.snapshot import take_file
take_file(Path(sys.argv[2]), cache_directory=Path(sys.argv[3]))
at_rest = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (at_rest + 64_000_000,) * 2)
listed = take_file(Path(sys.argv[1]), cache_directory=Path(sys.argv[3]))
print(sum(map(len, listed.open_blob(listed.entries[0].content.decode()))))
"""
    small = write(tmp_path / "small", b"1")
    argv = [sys.executable, "-c", code, str(tmp_path / "big"), str(small), str(tmp_path / "cache")]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == "300000000\n"


# What is remembered


def test_what_is_remembered_is_what_was_saved(tmp_path):
    saved = {"": Digest("s", 1, "a" * 64), "x/\udcff": Digest("", 0, "b" * 64)}
    Digests(tmp_path, b"one").save(saved)
    assert Digests(tmp_path, b"one").load() == saved
    assert Digests(tmp_path, b"two").load() == {}


DAMAGE = [
    b"", b"{", b"[]", b"\xff", b'{"version": 1}', b'{"version": 2, "files": {}}', b'{"version": 1, "files": 3}',
    b'{"version": 1, "files": {"": [1, 2, 3]}}', b'{"version": 1, "files": {"": ["s", 1, "short"]}}',
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_memory_is_no_memory(tmp_path, damage):
    digests = Digests(tmp_path, b"one")
    digests.save({"": Digest("s", 1, "a" * 64)})
    (path,) = (tmp_path / "inputs").iterdir()
    path.write_bytes(damage)
    assert digests.load() == {}
    digests.save({"": Digest("s", 1, "a" * 64)})
    assert len(digests.load()) == 1


def test_a_memory_that_cannot_be_written_is_told_of_and_stops_nothing(tmp_path, caplog):
    write(tmp_path / "cache", "a file in the way")
    path = write(tmp_path / "data", b"1")
    let_the_clock_pass(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert take_file(path, cache_directory=tmp_path / "cache").files == 1
    assert "cannot be written" in caplog.text


# What a listing says of a file


NOW = datetime.now(timezone.utc)
LONG_AGO = NOW - timedelta(days=1)
#: Stands for the moment at which the test looks: this module may have been imported minutes before.
JUST_NOW = "just now"


@pytest.mark.parametrize(
    ("facts", "stamped", "settled"),
    [
        ({"size": 1, "ETag": '"abc"'}, True, True),
        ({"size": 1, "ETag": '"abc"', "LastModified": NOW}, True, True),
        ({"size": 1, "ETag": 'W/"abc"'}, False, True),
        ({"size": None, "ETag": '"abc"'}, True, True),
        ({"size": 1, "mtime": LONG_AGO}, True, True),
        ({"size": 1, "mtime": LONG_AGO.replace(tzinfo=None)}, True, True),
        ({"size": 1, "mtime": LONG_AGO.timestamp()}, True, True),
        ({"size": 1, "updated": LONG_AGO.isoformat().replace("+00:00", "Z")}, True, True),
        ({"size": 1, "mtime": JUST_NOW}, True, False),
        ({"size": 1, "mtime": NOW + timedelta(days=1)}, True, False),
        ({"size": 1, "modified": "yesterday"}, False, True),
        ({"size": None, "mtime": LONG_AGO}, False, True),
        ({"size": 1, "created": LONG_AGO}, False, True),
        ({"size": 1}, False, True),
    ],
)
def test_only_what_tells_of_every_change_is_relied_on(facts, stamped, settled):
    facts = {name: datetime.now(timezone.utc) if value == JUST_NOW else value for name, value in facts.items()}
    seen = found(facts)
    assert (bool(seen.stamp), seen.is_settled) == (stamped, settled)
    assert found({**facts, "size": 2}) != seen
    assert SETTLED_SECONDS > 2, "file systems with the coarsest times have them to two seconds"


# URLs


class Store:
    """The seam to fsspec: a file system in memory that lists a tag for each file, as object storage does."""

    def __init__(self, files: dict[str, bytes], *, tagged: bool = True) -> None:
        self.files, self.tagged = dict(files), tagged
        self.opened: list[str] = []
        self.lock = threading.Lock()

    def _strip_protocol(self, path: str) -> str:
        return path.rstrip("/")

    def invalidate_cache(self) -> None:
        """Nothing is cached."""

    def info(self, path: str) -> dict:
        if path in self.files:
            return self._facts(path)
        if any(name.startswith(f"{path}/") for name in self.files):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def find(self, path: str, *, detail: bool) -> dict:
        assert detail
        return {name: self._facts(name) for name in self.files if name.startswith(f"{path}/")}

    def _facts(self, path: str) -> dict:
        data = self.files[path]
        tag = {"ETag": hashlib.md5(data).hexdigest()} if self.tagged else {}
        return {"name": path, "size": len(data), "type": "file", **tag}

    def open(self, path: str, *_: object, **__: object) -> io.BytesIO:
        with self.lock:
            self.opened.append(path)
        return io.BytesIO(self.files[path])


def names_of(tree, prefix: str = "") -> dict[str, bytes]:
    files = {}
    for name, what in tree.items():
        if isinstance(what, dict):
            files.update(names_of(what, f"{prefix}{name}/"))
        else:
            files[prefix + name] = what
    return files


url_names = st.text(min_size=1, max_size=5).filter(lambda n: "/" not in n and "\0" not in n and n not in (".", ".."))
url_trees = st.recursive(
    st.dictionaries(url_names, st.binary(max_size=9), min_size=1, max_size=4),
    lambda below: st.dictionaries(url_names, st.binary(max_size=9) | below, min_size=1, max_size=4),
    max_leaves=8,
)


@settings(max_examples=40)
@given(url_trees, url_trees, st.booleans())
def test_what_lies_behind_a_url_is_what_a_folder_of_it_would_be(before, after, tagged):
    with scratch() as folder:
        store = Store({}, tagged=tagged)
        for tree in (before, after, after):
            files = names_of(tree)
            store.files = {f"bucket/set/{name}": data for name, data in files.items()}
            listed = take_url(Address(store, "bucket/set", "s3://bucket/set"), cache_directory=folder)
            assert listed.manifest == manifest.encode(
                manifest.Entry(name.encode(), "f", len(data), hashlib.sha256(data).hexdigest().encode())
                for name, data in files.items()
            )
            for data in files.values():
                assert b"".join(listed.open_blob(hashlib.sha256(data).hexdigest())) == data


def test_what_looks_the_same_is_not_read(tmp_path):
    store = Store({f"b/{n}": b"%d" % n for n in range(50)})
    address = Address(store, "b", "s3://b")
    first = take_url(address, cache_directory=tmp_path)
    assert len(store.opened) == 50
    assert take_url(address, cache_directory=tmp_path).id == first.id
    assert len(store.opened) == 50
    store.files["b/7"] = b"other"
    del store.files["b/8"]
    store.files["b/new"] = b"new"
    assert take_url(address, cache_directory=tmp_path).id != first.id
    assert sorted(store.opened[50:]) == ["b/7", "b/new"]


def test_a_file_and_a_folder_that_holds_one_are_told_apart(tmp_path):
    store = Store({"b/set/file": b"x"})
    one = take_url(Address(store, "b/set/file", "s3://b/set/file"), cache_directory=tmp_path)
    folder = take_url(Address(store, "b/set", "s3://b/set"), cache_directory=tmp_path)
    assert (one.is_file, folder.is_file) == (True, False)


@pytest.mark.parametrize("now", [b"", b"shorter", b"the same le", b"longer than it was before"])
def test_what_is_another_when_it_is_sent_is_named_and_never_whole(tmp_path, now):
    store = Store({"b/x": b"the content"})
    listed = take_url(Address(store, "b", "s3://b"), cache_directory=tmp_path)
    store.files["b/x"] = now
    blob = iter(listed.open_blob(hashlib.sha256(b"the content").hexdigest()))
    got = []
    with pytest.raises(SnapshotChangedError, match="s3://b/x"):
        got.extend(blob)
    assert len(b"".join(got)) < len(b"the content")


def test_what_vanished_before_it_is_sent_is_named(tmp_path):
    store = Store({"b/x": b"1"})
    listed = take_url(Address(store, "b", "s3://b"), cache_directory=tmp_path)

    def gone(path, *_, **__):
        raise FileNotFoundError(path)

    store.open = gone
    with pytest.raises(SnapshotChangedError, match="s3://b/x was there, and then was not"):
        list(listed.open_blob(hashlib.sha256(b"1").hexdigest()))


def test_a_store_that_fails_is_named_with_its_reason_and_without_secrets(tmp_path):
    store = Store({"b/x": b"1"})

    def fail(*_: object, **__: object):
        raise RuntimeError("403 for https://u:s3cr3t@h/b/x?sig=t0k3n")

    store.open = fail
    address = Address(store, "b", "https://h/b", ("s3cr3t", "sig=t0k3n"))
    with pytest.raises(SnapshotError) as caught:
        take_url(address, cache_directory=tmp_path)
    assert str(caught.value) == "https://h/b/x cannot be read. 403 for https://u:***@h/b/x?***."
    assert caught.value.__cause__ is None
    assert "s3cr3t" not in repr(address)


@pytest.mark.parametrize("name", ["a//b", "../up", "a/./b", "/a"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    store = Store({f"b/{name}": b"1"})
    with pytest.raises(SnapshotError, match="no tree of files"):
        take_url(Address(store, "b", "s3://b"), cache_directory=tmp_path)


def test_a_name_that_is_a_file_and_a_folder_is_refused(tmp_path):
    store = Store({"b/set/a": b"1", "b/set/a/b": b"2"})
    with pytest.raises(SnapshotError, match="no tree of files"):
        take_url(Address(store, "b/set", "s3://b/set"), cache_directory=tmp_path)


def test_no_content_and_no_credential_is_in_the_cache(tmp_path):
    content = secrets.token_hex().encode()
    store = Store({"b/x": content})
    take_url(Address(store, "b", "s3://b", ("s3cr3t",)), cache_directory=tmp_path)
    (path,) = (tmp_path / "inputs").iterdir()
    assert json.loads(path.read_bytes())["files"].keys() == {"x"}
    assert content not in path.read_bytes()
    assert b"s3cr3t" not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
