"""The task's state decides about killing, never the signal."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, NamedTuple

import pytest

from airflow_provider.scriptrun.operators.killing import Verdict, ask, is_made_again, judge

RUN = "manual__1"
NOON, ONE = datetime(2026, 1, 1, 12, tzinfo=timezone.utc), datetime(2026, 1, 1, 13, tzinfo=timezone.utc)


class DagRun(NamedTuple):
    """What counts of Airflow's."""

    start_date: datetime | None
    clear_number: int | None


def verdict(state: str | None, **task: Any) -> Verdict:
    where = {"run_id": RUN, "task_id": "train", "map_index": -1, **task}
    name = where["task_id"] if where["map_index"] < 0 else f"{where['task_id']}_{where['map_index']}"
    return judge({RUN: {name: state}}, **where)


@pytest.mark.parametrize("state", ["success", "failed", "skipped", "upstream_failed", "removed", "restarting"])
def test_a_task_that_a_person_ended_or_cleared_cancels_its_run(state: str) -> None:
    assert verdict(state) is Verdict.CANCEL


def test_a_task_that_is_still_running_asks_for_the_same_try_again() -> None:
    assert verdict("running") is Verdict.RESCHEDULE


@pytest.mark.parametrize(
    "state", ["queued", "scheduled", "deferred", "up_for_retry", "up_for_reschedule", None, "a_new_state"]
)
def test_a_task_that_goes_on_leaves_its_run_alone(state: str | None) -> None:
    assert verdict(state) is Verdict.LEAVE


def test_a_task_that_is_gone_cancels_its_run() -> None:
    assert judge({}, run_id=RUN, task_id="train", map_index=-1) is Verdict.CANCEL
    assert judge({RUN: {}}, run_id=RUN, task_id="train", map_index=-1) is Verdict.CANCEL
    assert judge({"other": {"train": "running"}}, run_id=RUN, task_id="train", map_index=-1) is Verdict.CANCEL


def test_a_mapped_task_is_judged_by_its_own_state() -> None:
    states = {RUN: {"train_0": "failed", "train_1": "running", "train": "failed"}}
    assert judge(states, run_id=RUN, task_id="train", map_index=0) is Verdict.CANCEL
    assert judge(states, run_id=RUN, task_id="train", map_index=1) is Verdict.RESCHEDULE


@pytest.mark.parametrize(
    ("began", "cleared", "is_another"),
    [(NOON, 2, False), (ONE, 0, True), (None, 0, True), (ONE, 2, True), (ONE, 3, False), (None, 3, False)],
    ids=["ours", "another", "not begun", "another, cleared as often", "ours, cleared", "ours, cleared, not begun"],
)
def test_a_dag_run_that_was_made_again_is_told_from_one_whose_tasks_were_cleared(
    began: datetime | None, cleared: int, is_another: bool
) -> None:
    ours, there = DagRun(NOON, 2), DagRun(began, cleared)
    assert is_made_again(ours, there) is is_another
    assert not is_made_again(DagRun(None, 0), there), "of one run by dag.test(), Airflow does not say when it began"


class SilentTask:
    """A task instance whose API server is away. Stands in for ``RuntimeTaskInstance``."""

    dag_id, task_id, run_id, map_index = "dag", "train", RUN, -1

    def get_task_states(self, **query: Any) -> Any:
        raise ConnectionError("the API server is away")


def test_a_run_is_left_alone_when_airflow_cannot_be_asked() -> None:
    assert ask(SilentTask()) is Verdict.LEAVE  # type: ignore[arg-type]
