"""Every case of the rules about which run answers a start request, against a table made from the rules' own text."""

from __future__ import annotations

import itertools

import pytest

from airflow_provider.scriptrun.supervisor.decide import Action, Attempt, Decision, Latest, decide, is_cleared
from airflow_provider.scriptrun.supervisor.protocol.status import Status

#: The states of a run as the rules speak of them: not started, not over, Completed, ended otherwise.
NOT_STARTED, GOING_ON, COMPLETED, ENDED_OTHERWISE = "not started", "not over", "completed", "ended otherwise"
STATES = {
    Status.NOT_STARTED: NOT_STARTED,
    Status.STARTING: GOING_ON,
    Status.PREPARING: GOING_ON,
    Status.QUEUED: GOING_ON,
    Status.RUNNING: GOING_ON,
    Status.FINALIZING: GOING_ON,
    Status.CANCEL_REQUESTED: GOING_ON,
    Status.COMPLETED: COMPLETED,
    Status.FAILED: ENDED_OTHERWISE,
    Status.CANCELED: ENDED_OTHERWISE,
}
#: (who asks, cleared?, state) -> action. "same": the try that started the latest run; "later": one after it;
#: "joined": a later one that has joined it already; "older": one before the latest that asked.
TABLE = {
    **{("older", cleared, state): "superseded" for cleared in (False, True) for state in set(STATES.values())},
    **{(who, True, s): "cancel then start" for who in ("same", "joined", "later") for s in set(STATES.values())},
    **{(who, False, NOT_STARTED): "start latest" for who in ("same", "joined", "later")},
    **{(who, False, GOING_ON): "join" for who in ("same", "joined", "later")},
    **{(who, False, COMPLETED): "join" for who in ("same", "joined", "later")},
    ("same", False, ENDED_OTHERWISE): "join",
    ("joined", False, ENDED_OTHERWISE): "start",
    ("later", False, ENDED_OTHERWISE): "start",
}
#: (number of the asking try, of the try that started the latest run, of the last try that asked for it)
WHO = {"older": (2, 3, 3), "same": (3, 3, 3), "joined": (4, 3, 4), "later": (5, 3, 4)}
#: (max_tries differs, clear_number differs, the latest run was delivered) -> cleared
CLEARED = {
    (False, False, False): False,
    (False, False, True): False,
    (False, True, False): False,
    (False, True, True): True,
    (True, False, False): True,
    (True, False, True): True,
    (True, True, False): True,
    (True, True, True): True,
}
EXPECTED = {
    "superseded": Decision(Action.SUPERSEDED, "latest"),
    "cancel then start": Decision(Action.CANCEL_THEN_START, "asked"),
    "start latest": Decision(Action.START, "latest"),
    "join": Decision(Action.JOIN, "latest"),
    "start": Decision(Action.START, "asked"),
}


def attempt_and_latest(who: str, clearing: tuple[bool, bool, bool], status: Status) -> tuple[Attempt, Latest]:
    tries_differ, clears_differ, delivered = clearing
    asking, started_by, last_try = WHO[who]
    attempt = Attempt(asking, 7 if tries_differ else 3, 1 if clears_differ else 0, delivered)
    return attempt, Latest("latest", status, started_by, last_try, 3, 0)


def test_the_table_names_every_case_of_the_rules():
    assert set(TABLE) == set(itertools.product(WHO, (False, True), set(STATES.values())))
    assert set(STATES) == set(Status)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("clearing", CLEARED)
@pytest.mark.parametrize("who", WHO)
def test_each_case_is_decided_as_the_rules_say(who, clearing, status):
    attempt, latest = attempt_and_latest(who, clearing, status)

    assert decide(latest, "asked", attempt, tombstone=False) == EXPECTED[TABLE[who, CLEARED[clearing], STATES[status]]]


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("clearing", CLEARED)
@pytest.mark.parametrize("who", WHO)
def test_a_run_that_was_cancelled_before_it_started_is_never_started_nor_joined(who, clearing, status):
    attempt, latest = attempt_and_latest(who, clearing, status)

    assert decide(latest, "asked", attempt, tombstone=True) == Decision(Action.CANCELED, "asked")


@pytest.mark.parametrize("tombstone", [False, True])
@pytest.mark.parametrize("number", [1, 5])
def test_a_lineage_without_a_run_starts_one_unless_it_was_cancelled(number, tombstone):
    decision = decide(None, "asked", Attempt(number, 3, 2, True), tombstone)

    assert decision == Decision(Action.CANCELED if tombstone else Action.START, "asked")


@pytest.mark.parametrize("clearing", CLEARED)
def test_cleared_means_other_max_tries_or_another_clear_number_after_delivery(clearing):
    attempt, latest = attempt_and_latest("same", clearing, Status.RUNNING)

    assert is_cleared(latest, attempt) is CLEARED[clearing]


def test_a_decision_shows_what_it_is_in_a_failed_comparison():
    assert repr(Decision(Action.JOIN, "a")) == "Decision(Action.JOIN, 'a')"
    assert len({Decision(Action.JOIN, "a"), Decision(Action.JOIN, "a"), Decision(Action.START, "a")}) == 2
