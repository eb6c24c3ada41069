"""What a clean removes: old first, then the least recently used; never what is in use, just used or being built."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider.scriptrun.supervisor.environment import clean
from airflow_provider.scriptrun.supervisor.environment.budget import JUST_USED_S, Shelved, to_remove
from airflow_provider.scriptrun.supervisor.environment.shelf import Complete, adopt, write_complete
from airflow_provider.scriptrun.supervisor.layout import Layout, make_folder

DAY_S = 86_400.0
NOW = 10_000_000.0


@pytest.fixture
def layout(tmp_path):
    return Layout(str(tmp_path / "root"))


def add(layout, name, *, unused_for_s, size=100_000):
    """Put an environment on the shelf by hand."""
    key = hashlib.sha256(name.encode()).hexdigest()
    parts = layout.environment_parts(key)
    make_folder(parts.bin)
    os.symlink("/bin/sh", parts.python)
    with open(os.path.join(parts.folder, "data"), "wb") as stream:
        stream.write(os.urandom(size))
    write_complete(parts, Complete("3.11.7", 0, "test", time.time(), {}), "")
    used = time.time() - unused_for_s
    os.utime(parts.in_use, (used, used))
    return key


def left(layout):
    return {name for name in os.listdir(layout.environments) if not name.startswith(".")}


def test_what_was_not_used_for_long_goes(layout):
    old, young = add(layout, "old", unused_for_s=40 * DAY_S), add(layout, "young", unused_for_s=5 * DAY_S)
    removed = clean(layout, budget_bytes=None, max_age_s=30 * DAY_S)
    assert left(layout) == {young}
    assert removed["environments"] == 1
    assert removed["bytes"] >= 100_000
    assert adopt(layout, old) is None


def test_over_the_budget_the_least_recently_used_goes_first(layout):
    keys = [add(layout, f"{days}", unused_for_s=days * DAY_S, size=1_000_000) for days in (1, 2, 3, 4)]
    clean(layout, budget_bytes=2_500_000, max_age_s=None)
    assert left(layout) == set(keys[:2])
    clean(layout, budget_bytes=2_500_000, max_age_s=None)
    assert left(layout) == set(keys[:2])


def test_what_a_run_holds_stays_however_old_it_is(layout):
    held = add(layout, "held", unused_for_s=400 * DAY_S)
    with open(layout.environment_parts(held).in_use) as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        assert clean(layout, budget_bytes=0, max_age_s=1.0)["environments"] == 0
    assert clean(layout, budget_bytes=0, max_age_s=1.0)["environments"] == 1


def test_what_was_just_used_stays_whatever_the_budget(layout):
    key = add(layout, "used", unused_for_s=400 * DAY_S)
    assert adopt(layout, key) is not None
    assert clean(layout, budget_bytes=0, max_age_s=1.0)["environments"] == 0
    assert left(layout) == {key}


def test_leftovers_of_dead_builders_go_and_those_of_living_ones_stay(layout):
    dead, living = (hashlib.sha256(name).hexdigest() for name in (b"dead", b"living"))
    make_folder(layout.locks)
    for key in (dead, living):
        make_folder(layout.environment_draft(key))
        make_folder(layout.environment(key))  # built in place, without its mark
        open(layout.environment_flock(key), "w").close()
    with open(layout.environment_flock(living)) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        clean(layout, budget_bytes=None, max_age_s=None)
    names = os.listdir(layout.environments)
    assert sorted(name for name in names if not name.startswith(".tmp.")) == [living]
    assert [name.split(".")[2] for name in names if name.startswith(".tmp.")] == [living]


def test_old_locks_and_lists_go_and_a_lock_that_somebody_holds_stays(layout):
    make_folder(layout.locks)
    key, other = "a" * 64, "b" * 64
    paths = [layout.environment_lock(key), layout.environment_flock(key), layout.package_list(key)]
    held = layout.environment_flock(other)
    for path in [*paths, held]:
        open(path, "w").close()
        os.utime(path, (1, 1))
    with open(held) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        clean(layout, budget_bytes=None, max_age_s=30 * DAY_S)
    assert os.listdir(layout.locks) == [os.path.basename(held)]


def test_a_root_without_environments_is_clean(layout):
    assert clean(layout, budget_bytes=0, max_age_s=0.0) == {"environments": 0, "bytes": 0}


shelves = st.lists(
    st.builds(Shelved, st.uuids().map(str), st.floats(0, NOW), st.integers(0, 10**12)),
    max_size=12,
    unique_by=lambda one: one.key,
)


@given(shelves, st.none() | st.integers(0, 10**12), st.none() | st.floats(0, NOW))
def test_a_decision_removes_the_oldest_first_and_no_more_than_it_must(shelf, budget, max_age):
    gone = to_remove(shelf, budget, max_age, NOW)
    stay = [one for one in shelf if one not in gone]
    assert all(NOW - one.used_at >= JUST_USED_S for one in gone)
    assert all(a.used_at <= b.used_at for a, b in itertools.pairwise(gone))
    if budget is not None and sum(one.bytes for one in stay) > budget:
        assert all(NOW - one.used_at < JUST_USED_S for one in stay)
    if max_age is not None:
        assert all(NOW - one.used_at <= max_age or NOW - one.used_at < JUST_USED_S for one in stay)
    for place, one in enumerate(gone):
        is_old = max_age is not None and NOW - one.used_at > max_age
        assert is_old or (budget is not None and sum(other.bytes for other in [*stay, *gone[place:]]) > budget)
