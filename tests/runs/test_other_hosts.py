"""Where a run may start while an earlier one may be alive: here, elsewhere, later."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from airflow_provider.scriptrun.errors import (
    OtherHostError,
    TargetUnreachableError,
)
from airflow_provider.scriptrun.runs import lease
from airflow_provider.scriptrun.runs.lineage import CURSOR, LINEAGE, Attempt
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status


def test_an_unreachable_target_is_tried_again_later_and_never_elsewhere(world):
    world.target.trouble = [TargetUnreachableError(f"trouble {n}") for n in range(6)]
    world.submit()
    assert len(world.ears.warnings) == 5, "the first was the look ahead"
    assert world.opened == [("fake", None)]


def test_another_host_under_the_same_name_is_not_here(world):
    world.submit()
    world.target._host_id = "machine-9"
    with pytest.raises(OtherHostError, match=r"may still be alive there.*will have ended itself"):
        world.submit()
    assert world.calls("start") == ["start"]


def test_another_host_may_take_over_once_the_run_has_surely_ended_itself(world, monkeypatch):
    world.submit()
    world.target._host_id = "machine-9"
    lineage = world.state[LINEAGE]
    over = lease.over_at(0.0, orphan_after_s=lineage["orphan_after_s"], grace_s=lineage["grace_s"])
    lineage["watched_at"] = time.time() - over + 30
    with pytest.raises(OtherHostError):
        world.submit()
    lineage["watched_at"] -= 60
    world.state[CURSOR] = {"run": lineage["run_id"], "at": time.time(), "seen": 1, "offsets": {}}
    with pytest.raises(OtherHostError):
        world.submit()
    del world.state[CURSOR]
    assert world.submit().id in world.target.runs


def test_a_run_on_a_target_that_is_not_configured_any_more_is_seen_dead_first(world):
    first = world.submit()
    second = world.submit(compute_target="other")
    assert world.target.runs[first.id].status.status is Status.CANCELED
    assert ("cancel", first.id, Reason.SUPERSEDED) in world.target.calls
    assert second.id in world.targets["other"].runs
    assert world.state[LINEAGE]["connection"] == "other"
    assert second.submission["handle"]["lineage"] != first.submission["handle"]["lineage"]


def test_nothing_starts_elsewhere_before_the_old_target_was_asked(world):
    first = world.submit()
    world.target.trouble = [TargetUnreachableError("no route")] * 3
    second = world.submit(compute_target="other")
    assert sum("no route" in text for text in world.ears.warnings) == 3
    assert world.target.runs[first.id].status.status is Status.CANCELED
    assert second.id in world.targets["other"].runs


def test_nothing_starts_elsewhere_while_the_old_target_cannot_be_asked_and_its_run_may_live(world):
    world.gives_up_after(0.1)
    world.surroundings.settings = replace(world.surroundings.settings, orphan_after_seconds=0)
    first = world.submit()
    world.target.trouble = [TargetUnreachableError("no route")] * 10_000
    with pytest.raises(TargetUnreachableError, match=f"no route.*{first.id}.*nothing starts elsewhere"):
        world.submit(compute_target="other")
    assert world.targets["other"].runs == {}


def test_a_run_starts_elsewhere_once_its_predecessor_that_cannot_be_asked_has_surely_ended_itself(world):
    world.gives_up_after(0.01)
    world.submit()
    world.is_over_in(0.3)
    world.target.trouble = [TargetUnreachableError("no route")] * 10_000
    second = world.submit(compute_target="other")
    assert time.time() >= world.over_at
    assert second.id in world.targets["other"].runs


def test_a_target_on_which_nothing_can_be_yet_is_waited_for_as_long_as_the_settings_say(world):
    world.gives_up_after(0.2)
    world.target.trouble = [TargetUnreachableError("no route")] * 10_000
    with pytest.raises(TargetUnreachableError, match=r"no route.*Nothing was started.*unreachable_after_seconds"):
        world.submit()
    assert LINEAGE not in world.state


def test_a_target_that_may_have_a_run_is_waited_for_until_that_has_surely_ended_itself(world):
    world.gives_up_after(0.01)
    first = world.submit()
    world.is_over_in(1.5)
    world.target.trouble = [TargetUnreachableError("no route")] * 10_000
    with pytest.raises(TargetUnreachableError, match=first.id):
        world.submit(attempt=Attempt(try_number=2))
    assert time.time() >= world.over_at
    assert world.calls("start") == ["start"]


def test_a_start_that_may_have_been_heard_is_repeated_until_its_run_has_surely_ended_itself(world, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_MARGIN_SECONDS", -30.0)  # the grace of a script
    world.gives_up_after(0.01)
    world.surroundings.settings = replace(
        world.surroundings.settings, orphan_after_seconds=0.3, cancel_grace_seconds=30.0
    )

    def start(request):
        world.target.calls.append(("start", request.run_id))
        raise TargetUnreachableError("the connection broke")

    monkeypatch.setattr(world.target, "start", start)
    begun = time.monotonic()
    with pytest.raises(TargetUnreachableError, match=r"broke.*the run has ended itself by now"):
        world.submit()
    assert time.monotonic() - begun >= 0.3
    assert len(world.calls("start")) > 2


def test_a_run_of_the_callers_id_that_may_be_watched_is_asked_about_however_old_it_is(world, monkeypatch):
    world.submit(run_id="mine")
    monkeypatch.setattr(lease, "LEASE_MARGIN_SECONDS", -1e9)
    world.submit(run_id="mine", compute_target="other")
    assert ("cancel", "mine", Reason.SUPERSEDED) in world.target.calls


def test_two_that_find_no_lineage_choose_the_same_one_and_each_target_has_its_own(world):
    first = world.submit(seed="this task of this DAG run")
    world.state.clear()
    second = world.submit(seed="this task of this DAG run")
    elsewhere = world.submit(seed="this task of this DAG run", compute_target="other")
    again = world.submit(seed="this task of this DAG run")
    lineages = [run.submission["handle"]["lineage"] for run in (first, second, elsewhere, again)]
    assert lineages[0] == lineages[1]
    assert len(set(lineages)) == 3
    world.state.clear()
    assert world.submit(seed="another").submission["handle"]["lineage"] not in lineages
