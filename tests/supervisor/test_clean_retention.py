from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider.scriptrun.supervisor.housekeeping.retention import (
    Limits,
    Plan,
    RunFacts,
    SnapshotFacts,
    Step,
    choose,
)

HOUR, DAY = 3600.0, 86400.0
NOW = 100 * DAY
KEEP_S = HOUR


def run(name: str, age: float, code: int = 10, rest: int = 10, collected: bool = True) -> RunFacts:
    return RunFacts(name, NOW - age, code, rest, collected)


def snapshot(name: str, age: float, blobs: set[int], pinned: bool = False) -> SnapshotFacts:
    return SnapshotFacts(name, NOW - age, blobs, pinned)


def chosen(
    runs: list[RunFacts],
    snapshots: list[SnapshotFacts],
    blobs: list[int],
    budget: float | None = None,
    age: float | None = None,
) -> Plan:
    return choose(runs, snapshots, blobs, Limits(budget, age, KEEP_S), NOW)


def test_without_limits_nothing_goes() -> None:
    plan = chosen([run("a", 50 * DAY)], [snapshot("s", 50 * DAY, {0})], [5])
    assert (plan.runs, plan.snapshots, plan.bytes) == ({}, {}, 0)


def test_what_is_too_old_goes_collected_or_not() -> None:
    runs = [run("old", 15 * DAY, collected=False), run("young", 13 * DAY)]
    snapshots = [snapshot("old", 15 * DAY, {0, 1}), snapshot("young", 13 * DAY, {1})]
    plan = chosen(runs, snapshots, [5, 7], age=14 * DAY)
    assert plan.runs == {"old": Step.REMOVE}
    assert list(plan.snapshots) == ["old"]
    assert plan.bytes == 20 + 5  # the blob that the young snapshot names stays


def test_working_copies_go_first_the_least_recently_used_before_the_others() -> None:
    runs = [run("b", 2 * HOUR), run("c", 1.5 * HOUR), run("a", 3 * HOUR)]
    plan = chosen(runs, [snapshot("s", 9 * DAY, {0})], [100], budget=140)
    assert plan.runs == {"a": Step.STRIP, "b": Step.STRIP}
    assert not plan.snapshots


def test_then_snapshots_and_collected_runs_go_by_last_use() -> None:
    runs = [run("first", 9 * DAY), run("third", 7 * DAY), run("uncollected", 20 * DAY, collected=False)]
    snapshots = [snapshot("second", 8 * DAY, {0}), snapshot("fourth", 6 * DAY, {1})]
    plan = chosen(runs, snapshots, [5, 5], budget=25)  # 70 in all, 30 of it working copies
    assert plan.runs == {"first": Step.HOLLOW, "third": Step.STRIP, "uncollected": Step.STRIP}
    assert list(plan.snapshots) == ["second"]
    assert plan.bytes == 45


def test_a_blob_that_several_snapshots_name_is_free_when_the_last_of_them_goes() -> None:
    snapshots = [snapshot("a", 9 * DAY, {0, 1}), snapshot("b", 8 * DAY, {0, 2}), snapshot("c", 7 * DAY, {3})]
    plan = chosen([], snapshots, [100, 1, 1, 1], budget=2)
    assert list(plan.snapshots) == ["a", "b"]
    assert plan.bytes == 102


def test_nothing_that_was_just_used_or_is_pinned_goes_however_small_the_budget() -> None:
    runs = [run("just now", KEEP_S - 1), run("in the future", -DAY)]
    snapshots = [snapshot("just sent", KEEP_S - 1, {0}), snapshot("needed", 50 * DAY, {1}, pinned=True)]
    plan = chosen(runs, snapshots, [5, 5], budget=0, age=0)
    assert (plan.runs, plan.snapshots) == ({}, {})


def test_a_run_that_was_hollowed_already_frees_nothing_more() -> None:
    plan = chosen([run("hollow", 9 * DAY, code=0, rest=0)], [snapshot("s", 8 * DAY, {0})], [5], budget=0)
    assert plan.runs == {}
    assert list(plan.snapshots) == ["s"]


def test_a_hollow_run_still_goes_by_its_age() -> None:
    assert chosen([run("hollow", 9 * DAY, code=0, rest=0)], [], [], age=DAY).runs == {"hollow": Step.REMOVE}


ages = st.floats(0, 40 * DAY)
sizes = st.integers(0, 1000)
run_lists = st.lists(st.tuples(ages, sizes, sizes, st.booleans()), max_size=8)
snapshot_lists = st.lists(st.tuples(ages, st.sets(st.integers(0, 9)), st.booleans()), max_size=8)
limits = st.tuples(st.none() | st.integers(0, 8000), st.none() | ages)


@given(run_lists, snapshot_lists, st.lists(sizes, min_size=10, max_size=10), limits)
def test_a_plan_keeps_its_rules_whatever_there_is(run_tuples, snapshot_tuples, blobs, limit) -> None:
    budget, age = limit
    runs = [run(str(n), *values) for n, values in enumerate(run_tuples)]
    snapshots = [snapshot(str(n), *values) for n, values in enumerate(snapshot_tuples)]
    plan = chosen(runs, snapshots, blobs, budget, age)
    gone_runs = {one.run_id: one for one in runs if one.run_id in plan.runs}
    gone = [one for one in snapshots if one.snapshot_id in plan.snapshots]
    assert all(one.last_used <= NOW - KEEP_S for one in (*gone_runs.values(), *gone))
    assert not any(one.pinned for one in gone)
    too_old = {one.run_id for one in runs if age is not None and NOW - one.last_used > max(age, KEEP_S)}
    assert {name for name, step in plan.runs.items() if step is Step.REMOVE} >= too_old
    assert all(gone_runs[name].collected for name, step in plan.runs.items() if step is Step.HOLLOW)

    named = set().union(*(one.blobs for one in snapshots))
    still_named = set().union(*(one.blobs for one in snapshots if one not in gone))
    freed = sum(blobs[blob] for blob in named - still_named)
    for name, step in plan.runs.items():
        freed += gone_runs[name].code_bytes + (gone_runs[name].rest_bytes if step is not Step.STRIP else 0)
    assert plan.bytes == freed

    total = sum(one.code_bytes + one.rest_bytes for one in runs) + sum(blobs[blob] for blob in named)
    if budget is not None and total - freed > budget:  # then all that may go has gone
        may_go = [one for one in runs if one.last_used <= NOW - KEEP_S]
        assert all(one.run_id in plan.runs for one in may_go if one.code_bytes)
        assert all(one in gone for one in snapshots if not one.pinned and one.last_used <= NOW - KEEP_S)
        hollow = {name for name, step in plan.runs.items() if step is not Step.STRIP}
        assert all(one.run_id in hollow for one in may_go if one.collected and one.rest_bytes)
