"""The task's state decides about killing, never the signal."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider.scriptrun.operators.killing import Verdict, ask, judge

RUN = "manual__1"


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


class SilentTask:
    """A task instance whose API server is away. Stands in for ``RuntimeTaskInstance``."""

    dag_id, task_id, run_id, map_index = "dag", "train", RUN, -1

    def get_task_states(self, **query: Any) -> Any:
        raise ConnectionError("the API server is away")


def test_a_run_is_left_alone_when_airflow_cannot_be_asked() -> None:
    assert ask(SilentTask()) is Verdict.LEAVE  # type: ignore[arg-type]
