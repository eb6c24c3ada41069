"""Notes of images: one session makes an image at a time, whatever it dies of, and the least recently used may go."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from airflow_provider.scriptrun.supervisor.contain import contained
from tests.supervisor.session import Target, wait_until

FIRST, SECOND, THIRD = ("1" * 64, "2" * 64, "3" * 64)
HOUR = 3600.0
#: What is said of an image of which nothing was noted.
NOTHING = {"resolved_at": None, "retry_at": None}


def note(target: Target, key: str, size: int, used_hours_ago: float) -> None:
    target.session().ask("release_image", key=key, bytes=size, resolved_at=1000.0)
    path = target.layout.image(key)
    before = time.time() - used_hours_ago * HOUR
    os.utime(path, (before, before))


def test_an_image_is_made_by_one_session_at_a_time(target: Target) -> None:
    one, another = target.session(), target.session()
    assert one.ask("claim_image", key=FIRST) == {"ours": True}
    assert one.ask("claim_image", key=FIRST) == {"ours": True}
    assert another.ask("claim_image", key=FIRST) == {"ours": False}
    assert another.ask("claim_image", key=SECOND) == {"ours": True}
    one.ask("release_image", key=FIRST)
    assert another.ask("claim_image", key=FIRST) == {"ours": True}


def test_a_claim_ends_with_the_session_that_has_it(target: Target) -> None:
    one, another = target.session(), target.session()
    one.ask("claim_image", key=FIRST)
    one.kill()
    wait_until(lambda: another.ask("claim_image", key=FIRST)["ours"])


def test_what_was_resolved_is_noted_and_said_to_whoever_wants_the_image(target: Target) -> None:
    session = target.session()
    assert session.ask("use_image", key=FIRST) == NOTHING
    session.ask("claim_image", key=FIRST)
    session.ask("release_image", key=FIRST, bytes=10, resolved_at=1234.5, retry_at=5678.5)
    assert session.ask("use_image", key=FIRST) == {"resolved_at": 1234.5, "retry_at": 5678.5}


def test_the_least_recently_used_go_until_the_others_are_within_the_budget(target: Target) -> None:
    for key, size, hours in ((FIRST, 40, 3), (SECOND, 30, 2), (THIRD, 30, 1)):
        note(target, key, size, hours)
    ask = target.session().ask
    there = [FIRST, SECOND, THIRD]
    assert ask("spare_images", there=there, budget_bytes=100, budget_age_s=None)["keys"] == []
    assert ask("spare_images", there=there, budget_bytes=60, budget_age_s=None)["keys"] == [FIRST]
    assert ask("spare_images", there=there, budget_bytes=None, budget_age_s=1.5 * HOUR)["keys"] == [FIRST, SECOND]
    ask("use_image", key=FIRST)
    assert ask("spare_images", there=there, budget_bytes=60, budget_age_s=None)["keys"] == [SECOND, THIRD]


def test_an_image_that_is_being_made_or_was_just_wanted_stays(target: Target) -> None:
    note(target, FIRST, 40, 3)
    note(target, SECOND, 40, 0)
    session = target.session()
    session.ask("claim_image", key=FIRST)
    asked = target.session().ask("spare_images", there=[FIRST, SECOND, THIRD], budget_bytes=0, budget_age_s=0)
    assert asked["keys"] == []


def test_notes_of_images_that_are_gone_are_forgotten(target: Target) -> None:
    note(target, FIRST, 40, 3)
    target.session().ask("spare_images", there=[], budget_bytes=None, budget_age_s=None)
    assert os.listdir(target.layout.images) == []


def test_a_damaged_note_counts_as_none(target: Target) -> None:
    note(target, FIRST, 40, 3)
    with open(target.layout.image(FIRST), "w") as file:
        file.write("[1")
    assert target.session().ask("use_image", key=FIRST) == NOTHING


@pytest.mark.parametrize("operation", ["use_image", "claim_image", "release_image"])
def test_what_is_no_key_is_refused(target: Target, operation: str) -> None:
    assert "error" in target.session().ask(operation, key="../../etc/passwd")


def test_what_is_no_list_of_images_is_refused(target: Target) -> None:
    assert "error" in target.session().ask("spare_images", there=[FIRST, "../x"])
    assert "error" in target.session().ask("spare_images", there=7)


def test_a_run_in_a_container_of_the_keepers_image_is_told_what_its_interpreter_is(target: Target) -> None:
    inside = contained(str(target.root), "first")
    assert target.session().ask("give_facts", run="first") == {}
    facts = json.loads(Path(inside.interpreter_facts(target.python)).read_text())["facts"]
    assert facts["executable"] == target.python
    assert "error" in target.session().ask("give_facts", run="../first")
