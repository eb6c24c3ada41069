"""The stat cache: nothing is hashed twice, and no edit is ever missed."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider.scriptrun.errors import SnapshotError
from airflow_provider.scriptrun.snapshot import take
from airflow_provider.scriptrun.snapshot.cache import StatCache
from tests.snapshot.trees import File, Link, fresh, let_the_clock_pass, paths, plant, scratch, write

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

START = {
    b"a": File(b"1"),
    b"b": File(b"2", executable=True),
    b"d": {b"a": File(b"3"), b".gitignore": File(b"z\n"), b"z": File(b""), b"e": {b"z": File(b"4"), b"a": File(b"1")}},
    b"l": Link(b"d/a"),
    b"void": {},
}
PLACES = ["a", "b", "c", "d", "d/a", "d/z", "d/e", "d/e/a", "d/e/z", "l", "void", "void/n", "n", "n/n", "outputs/n",
          "n/pyvenv.cfg", "d/e/pyvenv.cfg"]  # fmt: skip


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def put(path: Path, content: bytes) -> None:
    for parent in [*path.parents, path]:
        if parent.is_symlink() or (parent.exists() and not parent.is_dir() and parent != path):
            parent.unlink()
    if path.is_dir():
        shutil.rmtree(path)
    write(path, content)


def edit_in_place(path: Path, content: bytes) -> None:
    """Write the same number of bytes and put the modification time back."""
    if path.is_file() and not path.is_symlink() and path.stat().st_size == len(content):
        facts = path.stat()
        path.write_bytes(content)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def rename(path: Path, content: bytes) -> None:
    other = path.parent / f"renamed{content[:1].decode()}"
    if os.path.lexists(path):
        remove(other)
        path.rename(other)


def make_link(path: Path, content: bytes) -> None:
    put(path, b"")
    path.unlink()
    path.symlink_to(content.decode())


EDITS = {
    "write": put,
    "write in place": edit_in_place,
    "append": lambda path, content: path.is_file() and path.open("ab").write(content),
    "remove": lambda path, _: remove(path),
    "rename": rename,
    "flip the executable bit": lambda path, _: path.is_file() and path.chmod(path.stat().st_mode ^ 0o100),
    "make a folder": lambda path, _: (put(path, b""), path.unlink(), path.mkdir()),
    "make a link": make_link,
    "ignore": lambda path, content: put(path.parent / ".gitignore", content + b"\n"),
    "ignore by amlignore": lambda path, content: put(path, b"") if b"3" in content else None,
}
edits = st.tuples(
    st.sampled_from(sorted(EDITS)), st.sampled_from(PLACES), st.sampled_from([b"1", b"2", b"3", b"z", b"a", b"*"])
)


def same(cached, uncached) -> None:
    assert (cached.id, cached.manifest, cached.files, cached.bytes, cached.ignored) == (
        uncached.id, uncached.manifest, uncached.files, uncached.bytes, uncached.ignored)  # fmt: skip


@settings(max_examples=80)
@given(st.lists(st.tuples(st.lists(edits, min_size=1, max_size=3), st.sampled_from([False, False, True])), max_size=5))
def test_a_snapshot_with_a_cache_is_the_one_without(steps):
    with scratch() as folder:
        root, cache = folder / "code", folder / "cache"
        root.mkdir()
        plant(root, START)
        same(take(root, cache_directory=cache), fresh(root))
        for some, rest in steps:
            if rest:  # so that entries are trusted; without, every edit comes within a tick of the clock
                let_the_clock_pass(folder)
                take(root, cache_directory=cache)
            for how, place, content in some:
                EDITS[how](root / place, content)
            same(take(root, cache_directory=cache), fresh(root))


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "d", "d/e"]),
            st.sampled_from(["a\n", "z\n", "*\n!a\n", "e/\n", ".gitignore\n", "", None]),
            st.sampled_from([".gitignore", ".gitignore", ".amlignore"]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_ignore_files_may_change_between_two_snapshots(changes):
    with scratch() as folder:
        root, cache = folder / "code", folder / "cache"
        root.mkdir()
        plant(root, START)
        for place, rules, name in changes:
            take(root, cache_directory=cache)
            let_the_clock_pass(folder)
            take(root, cache_directory=cache)
            if rules is None:
                (root / place / name).unlink(missing_ok=True)
            else:
                write(root / place / name, rules)
            same(take(root, cache_directory=cache), fresh(root))


def hashed(root: Path, cache: Path) -> list[tuple[int, int]]:
    calls: list[tuple[int, int]] = []
    take(root, cache_directory=cache, progress=lambda *done: calls.append(done))
    return calls


@pytest.fixture
def settled(tmp_path):
    """A source directory and its cache, in which every entry is trusted."""
    root, cache = tmp_path / "code", tmp_path / "cache"
    root.mkdir()
    plant(root, START)
    let_the_clock_pass(tmp_path)
    take(root, cache_directory=cache)
    return root, cache


def test_nothing_is_hashed_when_nothing_changed(settled):
    assert hashed(*settled) == []


def test_only_the_changed_file_is_hashed(settled):
    root, cache = settled
    write(root / "d/a", b"other")
    assert hashed(root, cache)[-1] == (1, 5)


def test_a_file_that_became_executable_is_hashed_alone(settled):
    root, cache = settled
    (root / "a").chmod(0o755)
    snapshot = take(root, cache_directory=cache)
    assert snapshot.changed == 1
    assert snapshot.id == fresh(root).id


def test_a_file_of_the_same_size_and_time_is_hashed_again(settled):
    root, cache = settled
    before = take(root, cache_directory=cache)
    edit_in_place(root / "a", b"9")
    after = take(root, cache_directory=cache)
    assert before.id != after.id == fresh(root).id


def test_a_file_written_within_a_tick_of_the_snapshot_is_not_trusted(tmp_path):
    root = tmp_path / "code"
    for number in range(40):
        write(root / "a", b"%02d" % number)
        assert take(root, cache_directory=tmp_path / "cache").id == fresh(root).id


def test_a_changed_ignore_file_hashes_nothing_that_is_known(settled):
    root, cache = settled
    write(root / ".gitignore", "void/\nb\n")
    assert hashed(root, cache)[-1] == (1, len("void/\nb\n"))
    assert "b" not in paths(take(root, cache_directory=cache))


def test_an_ignore_file_that_ignores_itself_is_watched(tmp_path):
    root, cache = tmp_path / "code", tmp_path / "cache"
    write(root / ".gitignore", "*\n")
    write(root / "a")
    let_the_clock_pass(tmp_path)
    assert paths(take(root, cache_directory=cache)) == set()
    write(root / ".gitignore", ".gitignore\n")
    assert paths(take(root, cache_directory=cache)) == {"a"}


def test_the_target_of_a_linked_amlignore_is_watched(tmp_path):
    root, cache = tmp_path / "code", tmp_path / "cache"
    write(root / "rules", "rules\na\n")
    (root / ".amlignore").symlink_to("rules")
    write(root / "a")
    let_the_clock_pass(tmp_path)
    assert paths(take(root, cache_directory=cache)) == {".amlignore"}
    write(root / "rules", "rules\n")
    assert paths(take(root, cache_directory=cache)) == {".amlignore", "a"}


def test_two_projects_do_not_disturb_each_other(tmp_path):
    cache = tmp_path / "cache"
    for name in ("one", "two"):
        write(tmp_path / name / "a", name)
    let_the_clock_pass(tmp_path)
    for name in ("one", "two"):
        take(tmp_path / name, cache_directory=cache)
    for name in ("one", "two", "one", "two"):
        assert hashed(tmp_path / name, cache) == []


def cache_file(cache: Path) -> Path:
    (file,) = (cache / "snapshots").iterdir()
    return file


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:40],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data.replace(b"cache-1", b"cache-0"),
        lambda data: data[:90] + bytes([data[90] ^ 1]) + data[91:],
        lambda data: data[:-20] + bytes([data[-20] ^ 1]) + data[-19:],
        lambda data: os.urandom(len(data)),
    ],
    ids=[
        "emptied",
        "cut early",
        "cut late",
        "longer",
        "of another version",
        "a bit flipped",
        "a bit flipped late",
        "noise",
    ],
)
def test_a_damaged_cache_is_made_anew_and_logged(damage, settled, caplog):
    root, cache = settled
    before = fresh(root)
    file = cache_file(cache)
    file.write_bytes(damage(file.read_bytes()))
    with caplog.at_level(logging.WARNING):
        same(take(root, cache_directory=cache), before)
    assert str(file) in caplog.text
    assert hashed(root, cache) == []


def test_a_cache_that_others_may_write_is_not_read(settled, caplog):
    root, cache = settled
    cache_file(cache).chmod(0o666)
    with caplog.at_level(logging.WARNING):
        assert hashed(root, cache) != []
    assert "others than this user" in caplog.text
    assert cache_file(cache).stat().st_mode & 0o777 == 0o600


def test_a_cache_of_another_user_is_not_read(settled, monkeypatch, caplog):
    root, cache = settled
    monkeypatch.setattr("airflow_provider.scriptrun.snapshot.cache.os.geteuid", lambda: os.getuid() + 1)
    with caplog.at_level(logging.WARNING):
        assert hashed(root, cache) != []


def test_a_cache_that_cannot_be_written_does_not_stop_a_snapshot(tmp_path, caplog):
    root = tmp_path / "code"
    write(root / "a")
    write(tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        snapshot = take(root, cache_directory=tmp_path / "file/cache")
    assert snapshot.id == fresh(root).id
    assert "cannot be written" in caplog.text


def test_a_cache_inside_the_source_directory_does_not_travel(tmp_path):
    write(tmp_path / "code/a")
    let_the_clock_pass(tmp_path)
    before = fresh(tmp_path / "code")
    for _ in range(3):
        assert take(tmp_path / "code", cache_directory=tmp_path / "code/.airflow/cache").entries == before.entries


def test_the_source_directory_cannot_be_its_own_cache(tmp_path):
    with pytest.raises(SnapshotError, match="cache_directory"):
        take(tmp_path, cache_directory=tmp_path)


def test_caches_long_unused_are_removed(tmp_path):
    cache = tmp_path / "cache"
    write(tmp_path / "old/a")
    take(tmp_path / "old", cache_directory=cache)
    old = cache_file(cache)
    os.utime(old, (1, 1))
    write(tmp_path / "new/a")
    take(tmp_path / "new", cache_directory=cache)
    assert cache_file(cache) != old


def test_snapshots_taken_at_once_share_a_cache(settled):
    root, cache = settled
    expected = fresh(root).id
    found: list[str] = []
    file = cache_file(cache)
    start = threading.Barrier(6)

    def one() -> None:
        start.wait()
        for _ in range(10):
            file.write_bytes(b"damaged")
            found.append(take(root, cache_directory=cache).id)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 60


def test_a_remembered_walk_costs_no_manifest(settled):
    root, cache = settled
    memory = StatCache(cache, b"%b\0" % os.fsencode(os.path.realpath(root))).load()
    assert memory.summary is not None
    assert memory.summary.id == fresh(root).id
    assert "shares" not in vars(memory)
