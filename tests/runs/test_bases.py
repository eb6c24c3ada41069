from __future__ import annotations

import os

import pytest

from airflow_provider.scriptrun.runs.bases import KEPT, UNUSED_SECONDS, Bases
from tests.conformance.tree import Tree


def tree(number: int) -> Tree:
    return Tree({f"file {n}": f"{n} {number}" for n in range(20)})


def settle(folder, *names: str) -> None:
    """Put these files into the order of their use, the first one last used."""
    for age, name in enumerate(names):
        (path,) = folder.glob(f"bases/*/{name}")
        os.utime(path, (1e9 - age, 1e9 - age))


def test_nothing_is_known_at_first(tmp_path):
    bases = Bases(tmp_path, "training")
    assert bases.ids() == ()
    assert bases.manifest("0" * 64) is None


def test_a_manifest_comes_back_as_it_was_in_another_process_too(tmp_path):
    one = tree(1)
    Bases(tmp_path, "training").remember(one)
    again = Bases(tmp_path, "training")
    assert again.ids() == (one.id,)
    assert again.manifest(one.id) == one.manifest
    assert Bases(tmp_path, "another").ids() == ()


def test_the_last_used_come_first_and_only_some_are_kept(tmp_path):
    bases = Bases(tmp_path, "training")
    trees = [tree(number) for number in range(KEPT + 2)]
    for age, one in enumerate(trees):
        bases.remember(one)
        settle(tmp_path, *[known.id for known in trees[max(0, age + 1 - KEPT) : age + 1]][::-1])
    assert bases.ids() == tuple(one.id for one in trees[: -KEPT - 1 : -1])
    assert len(list(tmp_path.glob("bases/*/*"))) == KEPT
    bases.remember(trees[3])  # used again
    assert bases.ids()[0] == trees[3].id


@pytest.mark.parametrize("damage", [b"", b"no zlib", None])
def test_a_damaged_manifest_is_as_good_as_none(tmp_path, damage):
    bases = Bases(tmp_path, "training")
    one = tree(1)
    bases.remember(one)
    (path,) = tmp_path.glob("bases/*/*")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage is None else damage)
    assert bases.manifest(one.id) is None


def test_a_manifest_of_another_snapshot_is_not_taken_for_it(tmp_path):
    bases = Bases(tmp_path, "training")
    one, other = tree(1), tree(2)
    bases.remember(one)
    bases.remember(other)
    (tmp_path / next(tmp_path.glob(f"bases/*/{one.id}"))).replace(next(tmp_path.glob(f"bases/*/{other.id}")))
    assert bases.manifest(other.id) is None


def test_a_disk_that_refuses_is_no_error(tmp_path, caplog):
    (tmp_path / "bases").write_text("in the way")
    bases = Bases(tmp_path, "training")
    bases.remember(tree(1))
    assert bases.ids() == ()
    assert "cannot be written" in caplog.text


def test_what_nobody_used_for_long_goes_when_another_comes(tmp_path):
    old, new = Bases(tmp_path, "old"), Bases(tmp_path, "new")
    old.remember(tree(1))
    (folder,) = tmp_path.glob("bases/*")
    os.utime(folder, (1e9, 1e9 + UNUSED_SECONDS))
    new.remember(tree(2))
    assert old.ids() == ()
    assert len(new.ids()) == 1
