"""Parts of Airflow die, freeze or are away while scripts run: each runs once, its record is right, its log whole."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.airflow_services import AirflowServices
from tests.e2e.crowd import Crowd
from tests.e2e.faults import Faults
from tests.e2e.lane import E2E, HOSTS, PATIENCE_SECONDS, Lane

pytestmark = [*E2E, pytest.mark.timeout(1800)]

#: How long 20 or 100 scripts have to start, and their tasks to end, on a busy machine.
CROWD_PATIENCE_SECONDS = 900
API_AWAY_SECONDS = 120
#: In the mix: long enough that each worker's heartbeats fail, and the worker ends.
API_AWAY_IN_THE_MIX_SECONDS = 40
#: Of the mix, with commas between them: which faults follow each other, and whom they strike.
SEEDS = [int(seed) for seed in os.environ.get("SCRIPTRUN_FAULT_SEEDS", "20261126").split(",")]
#: What a trigger says that was stopped although its task goes on.
MOVED = "This trigger was stopped, the task was not ended: its run goes on."
DEFERRED = [name for name, is_deferrable in HOSTS.items() if is_deferrable]


def faults_of(airflow: AirflowServices, lanes: list[Lane]) -> Faults:
    return Faults(airflow, lambda: [one.task() for one in lanes])


def start_all(lane: Callable[..., Lane], names: list[str], kind: str = "job") -> list[Lane]:
    lanes = [lane(name, kind) for name in names]
    for one in lanes:
        one.until_started()
    for one in lanes:
        one.until_waiting()
        one.say("line before")
    return lanes


def assert_all_ended_well(lanes: list[Lane]) -> None:
    """Each script ran once, and what it printed came home whole."""
    for one in lanes:
        one.say("line behind")
        one.go()
    for one in lanes:
        assert one.until_over() == "success", one.dag_id
        assert len(one.starts()) == 1, one.dag_id
        record = one.record()
        assert (record["run_id"], record["status"]) == (one.starts()[0], "Completed"), one.dag_id
        assert one.run_log(record) == ["the script has started", "line before", "line behind", "the script is done"], (
            one.dag_id
        )


def test_a_triggerer_that_was_frozen_and_goes_on_kills_no_run_that_another_one_watches_now(
    airflow: AirflowServices, lane: Callable[..., Lane]
) -> None:
    lanes = start_all(lane, DEFERRED * 2)
    with faults_of(airflow, lanes) as faults:
        for number in range(2):  # the second one watches all of them by then
            faults.freeze_triggerer(number)
        airflow.until(
            lambda: any(MOVED in one.whole_log() for one in lanes),
            PATIENCE_SECONDS,
            "no triggerer that went on stopped a trigger",
        )
        assert_all_ended_well(lanes)


def test_a_killed_triggerer_costs_no_run_and_no_line(airflow: AirflowServices, lane: Callable[..., Lane]) -> None:
    lanes = start_all(lane, DEFERRED)
    tries = [one.try_number() for one in lanes]
    with faults_of(airflow, lanes) as faults:
        for number in range(2):
            faults.kill_triggerer(number)
        assert_all_ended_well(lanes)
    assert [one.try_number() for one in lanes] == tries


@pytest.mark.parametrize("number", [0, 1], ids=["alone", "with its workers"])
def test_a_killed_scheduler_costs_no_run(airflow: AirflowServices, lane: Callable[..., Lane], number: int) -> None:
    lanes = start_all(lane, list(HOSTS))
    with faults_of(airflow, lanes) as faults:
        faults.kill_scheduler(number)
        assert_all_ended_well(lanes)


def test_runs_go_on_while_the_api_server_is_away_for_two_minutes(
    airflow: AirflowServices, lane: Callable[..., Lane]
) -> None:
    lanes = start_all(lane, list(HOSTS), "patient")
    with faults_of(airflow, lanes) as faults:
        faults.take_api_away(API_AWAY_SECONDS)
        assert_all_ended_well(lanes)


def test_a_restart_of_the_database_costs_no_run(airflow: AirflowServices, lane: Callable[..., Lane]) -> None:
    lanes = start_all(lane, list(HOSTS))
    with faults_of(airflow, lanes) as faults:
        faults.restart_database()
        assert_all_ended_well(lanes)


@pytest.mark.parametrize("seed", SEEDS)
def test_twenty_mapped_runs_under_a_mix_of_faults_each_run_once_and_come_home_whole(
    airflow: AirflowServices, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    airflow.wait_until_healthy()
    crowd = Crowd.start(airflow, "crowd", tmp_path, 20)
    try:
        crowd.until(lambda: crowd.started() >= 12, "the start of 12 scripts", CROWD_PATIENCE_SECONDS)
        with Faults(airflow, crowd.tasks) as faults:

            def take_api_away(_: int) -> None:
                faults.take_api_away(API_AWAY_IN_THE_MIX_SECONDS)

            kinds = [
                faults.kill_worker,
                faults.kill_worker,
                faults.kill_triggerer,
                faults.freeze_triggerer,
                faults.kill_scheduler,
                faults.restart_database,
                take_api_away,
            ]
            chance.shuffle(kinds)
            for kind in kinds:
                number = chance.randrange(100)
                print(f"seed {seed}: {kind.__name__}, {number}")
                kind(number)
            crowd.until(lambda: crowd.started() == crowd.count, "the start of every script", CROWD_PATIENCE_SECONDS)
            crowd.go()
            assert airflow.wait_for_run(crowd.dag_id, crowd.run_id, CROWD_PATIENCE_SECONDS) == "success", crowd.states()
        assert crowd.mistakes() == []
    finally:
        crowd.go()


def test_a_hundred_deferred_runs_at_once_each_run_once_and_come_home_whole(
    airflow: AirflowServices, tmp_path: Path
) -> None:
    airflow.wait_until_healthy()
    crowd = Crowd.start(airflow, "deferred_crowd", tmp_path, 100)
    try:
        crowd.until(lambda: crowd.started() == crowd.count, "the start of every script", CROWD_PATIENCE_SECONDS)
        crowd.until(lambda: crowd.states() == {"deferred": 100}, "all being deferred", CROWD_PATIENCE_SECONDS)
        crowd.go()
        assert airflow.wait_for_run(crowd.dag_id, crowd.run_id, CROWD_PATIENCE_SECONDS) == "success", crowd.states()
        assert crowd.mistakes() == []
    finally:
        crowd.go()
