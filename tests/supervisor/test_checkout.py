from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider.scriptrun.snapshot import Limits, take
from airflow_provider.scriptrun.supervisor import store
from airflow_provider.scriptrun.supervisor.layout import Layout
from airflow_provider.scriptrun.supervisor.protocol.manifest import Entry, encode, snapshot_id
from airflow_provider.scriptrun.supervisor.store import checkout as checkouts
from airflow_provider.scriptrun.supervisor.store.checkout import CheckoutError, checkout
from tests.supervisor.store_target import Parcel, Session, entries_on_disk, parcel, sha256

FILES = {"train.py": b"print()\n", "lib/a.py": b"a" * 100_000, "lib/deep/b.py": b"b", "lib.py": b"c", "empty": b""}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(Layout(str(tmp_path / "root")))


def test_a_working_copy_is_the_snapshot(session: Session, tmp_path: Path) -> None:
    links = [Entry(b"link", "l", 0, b"lib/a.py"), Entry(b"hollow/empty", "d", 0, b""), Entry(b"lib/up", "l", 0, b"..")]
    thing = parcel(FILES, executable=["train.py"], extra=links)
    session.put(thing)
    facts = checkout(session.layout, thing.id, str(tmp_path / "code"))
    assert facts == (5, sum(map(len, FILES.values())))
    assert encode(entries_on_disk(tmp_path / "code")) == thing.manifest


def test_modes_do_not_depend_on_the_umask(session: Session, tmp_path: Path) -> None:
    thing = parcel({"bin/run": b"#!", "lib/a.py": b"a"}, executable=["bin/run"], extra=[Entry(b"void", "d", 0, b"")])
    session.put(thing)
    for umask in (0, 0o022, 0o077, 0o777):
        previous = os.umask(umask)
        code = tmp_path / oct(umask)
        try:
            checkout(session.layout, thing.id, str(code))
        finally:
            os.umask(previous)
        modes = {str(path.relative_to(code)): path.stat().st_mode & 0o7777 for path in [code, *code.rglob("*")]}
        assert modes == {".": 0o755, "bin": 0o755, "bin/run": 0o755, "lib": 0o755, "lib/a.py": 0o644, "void": 0o755}


def test_what_a_script_writes_reaches_neither_the_store_nor_another_run(session: Session, tmp_path: Path) -> None:
    thing = parcel(FILES)
    session.put(thing)
    checkout(session.layout, thing.id, str(tmp_path / "one"))
    for path in (tmp_path / "one").rglob("*.py"):
        path.write_bytes(b"spoiled")
    checkout(session.layout, thing.id, str(tmp_path / "two"))
    assert encode(entries_on_disk(tmp_path / "two")) == thing.manifest


def test_a_missing_blob_is_named_and_asked_for_again(session: Session, tmp_path: Path) -> None:
    thing = parcel(FILES)
    session.put(thing)
    gone = sha256(b"c")
    os.unlink(session.layout.blob(gone))
    with pytest.raises(CheckoutError, match=gone) as failed:
        checkout(session.layout, thing.id, str(tmp_path / "code"))
    assert failed.value.blob == gone
    assert not store.has_snapshot(session.layout, thing.id)
    assert session.offer(thing) == [gone]


@pytest.mark.parametrize("content", [b"", b"a" * 99_999, b"a" * 100_001, b"a" * 3_000_000])
@pytest.mark.parametrize("by_kernel", [True, False])
def test_a_blob_of_another_size_is_named_and_asked_for_again(
    session: Session, tmp_path: Path, content: bytes, by_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not by_kernel:
        monkeypatch.delattr(os, "copy_file_range")
    thing = parcel(FILES)
    session.put(thing)
    damaged = sha256(FILES["lib/a.py"])
    os.chmod(session.layout.blob(damaged), 0o600)
    Path(session.layout.blob(damaged)).write_bytes(content)
    with pytest.raises(CheckoutError, match=damaged):
        checkout(session.layout, thing.id, str(tmp_path / "code"))
    assert session.offer(thing) == [damaged]
    session.put(thing)
    checkout(session.layout, thing.id, str(tmp_path / "again"))
    assert encode(entries_on_disk(tmp_path / "again")) == thing.manifest


def test_a_snapshot_that_is_not_here_is_an_error(session: Session, tmp_path: Path) -> None:
    with pytest.raises(CheckoutError, match="is not here"):
        checkout(session.layout, "0" * 64, str(tmp_path / "code"))
    assert not (tmp_path / "code").exists()


def test_a_manifest_that_was_damaged_on_the_disk_is_dropped(session: Session, tmp_path: Path) -> None:
    thing = parcel(FILES)
    session.put(thing)
    Path(session.layout.snapshot(thing.id)).write_bytes(thing.manifest[:-30])
    with pytest.raises(CheckoutError, match="damaged"):
        checkout(session.layout, thing.id, str(tmp_path / "code"))
    assert not store.has_snapshot(session.layout, thing.id)


@pytest.mark.parametrize("errno_name", ["EXDEV", "EINVAL", "ENOSYS", "EOPNOTSUPP", "EPERM"])
def test_where_the_kernel_cannot_copy_it_is_done_by_hand(
    session: Session, tmp_path: Path, errno_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    calls = []

    def refuse(*arguments: int) -> int:
        calls.append(arguments)
        raise OSError(getattr(errno, errno_name), "no")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    thing = parcel(FILES)
    session.put(thing)
    checkout(session.layout, thing.id, str(tmp_path / "code"))
    assert encode(entries_on_disk(tmp_path / "code")) == thing.manifest
    assert len(calls) == 1


def test_short_copies_by_the_kernel_are_gone_on_with(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.copy_file_range
    generator = random.Random(3)
    monkeypatch.setattr(
        os,
        "copy_file_range",
        lambda source, target, count: whole(source, target, min(count, generator.choice([1, 999]))),
    )
    thing = parcel(FILES)
    session.put(thing)
    checkout(session.layout, thing.id, str(tmp_path / "code"))
    assert encode(entries_on_disk(tmp_path / "code")) == thing.manifest


def test_a_kernel_that_copies_nothing_without_an_error_is_not_believed(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    thing = parcel(FILES)
    session.put(thing)
    checkout(session.layout, thing.id, str(tmp_path / "code"))
    assert encode(entries_on_disk(tmp_path / "code")) == thing.manifest


def test_a_full_disk_is_no_damage(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    thing = parcel(FILES)
    session.put(thing)
    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(OSError, match="No space left"):
        checkout(session.layout, thing.id, str(tmp_path / "code"))
    assert store.has_snapshot(session.layout, thing.id)


def test_a_tree_of_a_thousand_levels_is_copied(session: Session, deep_path: Path) -> None:
    path = b"/".join([b"level"] * 1000)
    content = sha256(b"deep").encode()
    entries = [
        Entry(path + b"/file", "f", 4, content),
        Entry(path + b"/sub/file", "x", 4, content),
        Entry(path + b"/void", "d", 0, b""),
        Entry(path + b"/link", "l", 0, b"file"),
    ]
    manifest = encode(entries)
    thing = Parcel(snapshot_id(manifest), manifest, {sha256(b"deep"): b"deep"})
    session.put(thing)
    checkout(session.layout, thing.id, str(deep_path / "code"))
    descriptor = os.open(deep_path / "code", os.O_RDONLY)
    for _ in range(1000):
        inner = os.open("level", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    assert sorted(os.listdir(descriptor)) == ["file", "link", "sub", "void"]
    assert os.readlink("link", dir_fd=descriptor) == "file"
    os.close(descriptor)


def test_a_destination_that_exists_is_left_alone(session: Session, tmp_path: Path) -> None:
    thing = parcel(FILES)
    session.put(thing)
    (tmp_path / "code").symlink_to(tmp_path)
    with pytest.raises(FileExistsError):
        checkout(session.layout, thing.id, str(tmp_path / "code"))
    assert not (tmp_path / "train.py").exists()


def test_no_descriptor_is_left_open(session: Session, tmp_path: Path) -> None:
    thing = parcel({**FILES, **{f"d{n}/e/f": b"%d" % n for n in range(50)}})
    session.put(thing)
    before = len(os.listdir("/proc/self/fd"))
    checkout(session.layout, thing.id, str(tmp_path / "code"))
    os.unlink(session.layout.blob(sha256(b"7")))
    with pytest.raises(CheckoutError):
        checkout(session.layout, thing.id, str(tmp_path / "again"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_it_works_on_the_oldest_python(session: Session, tmp_path: Path, oldest_python: str) -> None:
    links = [Entry(b"link", "l", 0, b"lib"), Entry(b"od\xffd\n", "f", 1, sha256(b"b").encode())]
    thing = parcel(FILES, executable=["train.py"], extra=links)
    session.put(thing)
    (tmp_path / "s").symlink_to(Path(checkouts.__file__).parent.parent)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from s.store.checkout import checkout; from s.layout import Layout;"
        "checkout(Layout(sys.argv[2]), sys.argv[3], sys.argv[4])"
    )
    arguments = [str(tmp_path), session.layout.root, thing.id, str(tmp_path / "code")]
    subprocess.run([oldest_python, "-I", "-S", "-E", "-B", "-c", code, *arguments], check=True)
    assert encode(entries_on_disk(tmp_path / "code")) == thing.manifest


part = st.binary(min_size=1, max_size=5).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))
leaf = st.one_of(
    st.tuples(st.sampled_from("fx"), st.binary(max_size=50)),
    st.tuples(st.just("l"), st.binary(min_size=1, max_size=9).filter(lambda target: 0 not in target)),
)
trees = st.recursive(leaf, lambda inner: st.dictionaries(part, inner, max_size=4), max_leaves=12)


def flat(tree, path: bytes, entries: list[Entry], blobs: dict[str, bytes]) -> None:
    for name, node in tree.items():
        here = path + name
        if isinstance(node, dict) and node:
            flat(node, here + b"/", entries, blobs)
        elif isinstance(node, dict):
            entries.append(Entry(here, "d", 0, b""))
        elif node[0] == "l":
            entries.append(Entry(here, "l", 0, node[1]))
        else:
            blobs[sha256(node[1])] = node[1]
            entries.append(Entry(here, node[0], len(node[1]), sha256(node[1]).encode()))


@pytest.mark.slow
@settings(max_examples=100)
@given(tree=st.dictionaries(part, trees, max_size=6))
def test_any_tree_comes_back_with_the_same_id(tmp_path_factory: pytest.TempPathFactory, tree) -> None:
    entries: list[Entry] = []
    blobs: dict[str, bytes] = {}
    flat(tree, b"", entries, blobs)
    manifest = encode(entries)
    folder = tmp_path_factory.mktemp("any")
    session = Session(Layout(str(folder / "root")))
    thing = Parcel(snapshot_id(manifest), manifest, blobs)
    session.put(thing)
    checkout(session.layout, thing.id, str(folder / "code"))
    assert snapshot_id(encode(entries_on_disk(folder / "code"))) == thing.id


word = st.sampled_from([b"a", b"b.py", b"\xff", b"new\nline", "ü".encode(), b"c d"])
node = st.one_of(
    st.tuples(st.sampled_from("fx"), st.binary(max_size=30)),
    st.tuples(st.just("l"), st.sampled_from([b"a", b"./b.py"])),
)


def write(tree, folder: bytes) -> None:
    os.mkdir(folder)
    for name, inner in tree.items():
        path = folder + b"/" + name
        if isinstance(inner, dict):
            write(inner, path)
        elif inner[0] == "l":
            os.symlink(inner[1], path)
        else:
            with open(path, "wb") as stream:
                stream.write(inner[1])
            os.chmod(path, 0o755 if inner[0] == "x" else 0o644)


@settings(max_examples=40)
@given(
    tree=st.dictionaries(word, st.recursive(node, lambda inner: st.dictionaries(word, inner, max_size=3)), max_size=5)
)
def test_what_a_worker_takes_and_sends_is_what_it_would_take_of_the_copy(
    tmp_path_factory: pytest.TempPathFactory, tree
) -> None:
    folder = tmp_path_factory.mktemp("taken")
    write(tree, os.fsencode(folder / "source"))
    sent = take(folder / "source", cache_directory=folder / "cache", limits=Limits(0, 0, 0))
    session = Session(Layout(str(folder / "root")))
    blobs = {
        entry.content.decode(): b"".join(sent.open_blob(entry.content.decode()))
        for entry in sent.entries
        if entry.type in "fx"
    }
    session.put(Parcel(sent.id, sent.manifest, blobs))
    facts = checkout(session.layout, sent.id, str(folder / "code"))
    copied = take(folder / "code", cache_directory=folder / "cache", limits=Limits(0, 0, 0))
    assert (copied.id, copied.files, copied.bytes) == (sent.id, sent.files, sent.bytes) == (sent.id, *facts)


def test_one_file_is_put_in_its_place_beside_what_is_there(session: Session, tmp_path: Path) -> None:
    thing = parcel({"file": b"#!"}, executable=["file"])
    session.put(thing)
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "other").write_bytes(b"mine")
    assert checkouts.checkout_file(session.layout, thing.id, str(tmp_path / "inputs" / "tool")) == (1, 2)
    assert {path.name: path.read_bytes() for path in (tmp_path / "inputs").iterdir()} == {
        "other": b"mine",
        "tool": b"#!",
    }
    assert (tmp_path / "inputs" / "tool").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("files", "extra"),
    [
        ({"a": b"a", "b": b"b"}, []),
        ({}, []),
        ({}, [Entry(b"file", "l", 0, b"/etc/passwd")]),
        ({}, [Entry(b"d", "d", 0, b"")]),
    ],
    ids=["two files", "nothing", "a link", "a folder"],
)
def test_what_is_not_one_file_is_not_put_in_the_place_of_one(
    session: Session, tmp_path: Path, files: dict[str, bytes], extra: list[Entry]
) -> None:
    thing = parcel(files, extra=extra)
    session.put(thing)
    with pytest.raises(CheckoutError, match="not one file"):
        checkouts.checkout_file(session.layout, thing.id, str(tmp_path / "file"))
    assert not os.path.lexists(tmp_path / "file")
