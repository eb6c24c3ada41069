"""What cannot be captured: one clear error that names the file and says what to do."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider.scriptrun.errors import SnapshotError, SnapshotTooLargeError
from airflow_provider.scriptrun.snapshot import Limits, take
from airflow_provider.scriptrun.snapshot.links import escapes
from tests.snapshot.trees import fresh, paths, write


def refused(root: Path, match: str) -> str:
    with pytest.raises(SnapshotError, match=match) as caught:
        fresh(root)
    assert caught.value.advice
    return str(caught.value)


def test_a_missing_source_directory_is_named(tmp_path):
    assert str(tmp_path / "missing") in refused(tmp_path / "missing", "nothing at this path")


def test_a_file_is_no_source_directory(tmp_path):
    assert "source_directory" in refused(write(tmp_path / "train.py"), "It is a file")


def test_a_fifo_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path, r"pipe is a FIFO .*\.amlignore")


def test_a_socket_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path may have no more than 108 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        refused(tmp_path, "s is a socket")


def test_a_device_is_named(tmp_path):
    try:
        os.mknod(tmp_path / "null", 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this user may not make devices")
    refused(tmp_path, "null is a device")


def test_a_name_with_a_line_break_is_shown_on_one_line(tmp_path):
    os.mkfifo(os.fsencode(tmp_path) + b"/a\nb\xff")
    message = refused(tmp_path, "FIFO")
    assert "'a\\nb\\udcff'" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("link", "/etc/hostname"),
        ("link", ".."),
        ("link", "../beside"),
        ("sub/link", "../../beside"),
        ("sub/link", "../sub/../../beside"),
        ("link", "sub/up/.."),  # sub/up leads to the root
        ("link", "sub/up/../etc"),
        ("link", "hop"),  # hop leads out
    ],
)
def test_a_link_that_escapes_is_named(place, target, tmp_path):
    root = tmp_path / "code"
    write(root / "sub/file")
    (root / "sub/up").symlink_to("..")
    if target == "hop":
        (root / "hop").symlink_to("../beside")
    (root / place).symlink_to(target)
    message = refused(root, "outside the source directory")
    assert place in message or "hop" in message


def test_an_absolute_link_into_the_source_directory_escapes_too(tmp_path):
    write(tmp_path / "data")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    refused(tmp_path, "relative")


def test_links_that_stay_inside_travel_as_links(tmp_path):
    root = tmp_path / "code"
    write(root / "sub/file")
    targets = {"here": ".", "down": "sub/file", "sub/up": "..", "sub/top": "../sub/../here", "missing": "nowhere",
               "loop": "loop", "one": "two", "two": "one"}  # fmt: skip
    for name, target in targets.items():
        (root / name).symlink_to(target)
    links = {entry.path.decode(): entry.content.decode() for entry in fresh(root).entries if entry.type == "l"}
    assert links == targets


def test_a_link_escapes_although_only_another_folder_changed(tmp_path):
    root, cache = tmp_path / "code", tmp_path / "cache"
    write(root / "a/b/file")
    (root / "a/link").symlink_to("b/..")
    take(root, cache_directory=cache)
    shutil.rmtree(root / "a/b")
    (root / "hop").mkdir()
    (root / "a/b").symlink_to("../hop")
    take(root, cache_directory=cache)
    (root / "a/b").unlink()
    (root / "a/b").symlink_to("..")
    with pytest.raises(SnapshotError, match="a/link"):
        take(root, cache_directory=cache)


parts = st.lists(st.sampled_from(["a", "b", "..", "."]), min_size=1, max_size=5).map("/".join)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(["a", "b", "d/a", "d/b", "d/e/a"]), parts, min_size=1))
def test_no_link_of_a_snapshot_can_be_followed_out_of_it(links):
    targets = {place.encode(): target.encode() for place, target in links.items()}
    with tempfile.TemporaryDirectory() as folder:
        root = os.path.realpath(folder) + "/x/y/z"
        for place in {"d/e", *(os.path.dirname(p) for p in links)}:
            os.makedirs(os.path.join(root, place), exist_ok=True)
        for place, target in links.items():
            os.symlink(target, os.path.join(root, place))
        for place in links:
            if not escapes(place.encode(), targets):
                try:
                    real = os.path.realpath(os.path.join(root, place), strict=True)
                except OSError:  # the system says that it leads nowhere, or in a circle
                    continue
                assert (real + "/").startswith(root + "/")


def refused_to_nobody(root: Path) -> str:
    """Take a snapshot as a user who is not root, and return the error's message."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            take(root, cache_directory=root.parent / "cache")
        except SnapshotError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        message = pipe.read()
    os.waitpid(child, 0)
    return message


@pytest.mark.parametrize("what", ["secret.key", "private", "sub/.gitignore", ""])
def test_what_may_not_be_read_is_named(what):
    folder = Path(tempfile.mkdtemp())
    try:
        root = folder / "code"
        for path in ("secret.key", "private/file", "sub/.gitignore", "sub/file"):
            write(root / path)
        (root / what).chmod(0)
        if os.geteuid() == 0:  # who may read everything
            for path in [folder, *folder.rglob("*")]:
                os.lchown(path, 65534, 65534)
            message = refused_to_nobody(root)
        else:
            with pytest.raises(SnapshotError) as caught:
                fresh(root)
            message = str(caught.value)
            (root / what).chmod(0o700)
        assert what in message
        assert "Permission denied" in message or "may not read" in message
    finally:
        shutil.rmtree(folder)


def test_over_a_soft_limit_it_warns_and_names_the_largest(tmp_path):
    for number in range(8):
        write(tmp_path / f"f{number}", b"x" * (number + 1) * 1000)
    snapshot = fresh(tmp_path, limits=Limits(warn_bytes=10_000, warn_files=7))
    by_size, by_count = snapshot.warnings
    for warning in (by_size, by_count):
        assert "f7 (7.8 KiB), f6 (6.8 KiB), f5 (5.9 KiB), f4 (4.9 KiB), f3 (3.9 KiB)." in warning
        assert "f2" not in warning
    assert "35.2 KiB" in by_size
    assert "8 files" in by_count


def test_the_size_is_warned_of_every_time_and_the_count_when_files_changed(tmp_path):
    root, cache = tmp_path / "code", tmp_path / "cache"
    for number in range(8):
        write(root / f"f{number}", b"x" * 1000)
    limits = Limits(warn_bytes=5000, warn_files=7)
    assert len(take(root, cache_directory=cache, limits=limits).warnings) == 2
    (warning,) = take(root, cache_directory=cache, limits=limits).warnings
    assert "7.8 KiB" in warning
    write(root / "f3", b"y" * 1000)
    snapshot = take(root, cache_directory=cache, limits=limits)
    assert len(snapshot.warnings) == 1
    assert snapshot.changed == 1


def test_two_thousand_and_one_changed_files_warn_and_travel(tmp_path):
    for number in range(2001):
        write(tmp_path / f"d{number % 10}/f{number}", b"")
    snapshot = fresh(tmp_path)
    assert snapshot.files == 2001
    assert "2001 files" in snapshot.warnings[0]


def test_over_the_hard_limit_it_is_refused_before_anything_is_hashed(tmp_path):
    for number in range(8):
        write(tmp_path / f"f{number}", b"x" * (number + 1) * 1000)
    hashed: list[tuple[int, int]] = []
    with pytest.raises(SnapshotTooLargeError, match=r"f7 .*snapshot_max_bytes"):
        fresh(tmp_path, limits=Limits(max_bytes=30_000), progress=lambda *done: hashed.append(done))
    assert hashed == []
    assert fresh(tmp_path, limits=Limits(max_bytes=36_000)).files == 8


def test_the_hard_limit_holds_for_an_unchanged_tree_too(tmp_path):
    write(tmp_path / "code/a", b"x" * 1000)
    take(tmp_path / "code", cache_directory=tmp_path / "cache")
    with pytest.raises(SnapshotTooLargeError, match=r"a \(1000 bytes\)"):
        take(tmp_path / "code", cache_directory=tmp_path / "cache", limits=Limits(max_bytes=999))


def test_what_is_left_out_counts_for_no_limit(tmp_path):
    write(tmp_path / ".gitignore", "big\n")
    write(tmp_path / "big", b"x" * 10_000)
    assert paths(fresh(tmp_path, limits=Limits(warn_bytes=100, max_bytes=100))) == {".gitignore"}
