"""docs/airflow.md says what is so: its Python runs, its links lead somewhere, its settings are ours."""

from __future__ import annotations

import dataclasses
import re

import pytest

from airflow_provider.scriptrun.runs.settings import Settings
from tests.airflow import page

TASKS = {
    "Retries": {"train"},
    "Waiting in the triggerer": {"train"},
    "Deciding at run time": {"train"},
    "Many at once": {"each_rate", "each_config", "each_place", "rates", "each_found", "train_with"},
    "One after another": {"train", "evaluate", "publish"},
    "The trigger form": set(),  # has a DAG of its own
    "The trigger form (2)": set(),
    "Links, and what comes after": {"train"},
}


@pytest.mark.parametrize("heading", TASKS)
def test_each_block_of_the_page_makes_the_tasks_that_it_shows(heading: str) -> None:
    assert set(page.run(page.blocks()[heading])["dag"].task_ids) == TASKS[heading]


def test_no_block_of_the_page_is_left_out() -> None:
    assert set(page.blocks()) == set(TASKS)


def test_the_page_shows_dependencies_that_are_there() -> None:
    dag = page.run(page.blocks()["One after another"])["dag"]
    assert dag.get_task("evaluate").upstream_task_ids == {"train"}
    assert dag.get_task("publish").upstream_task_ids == {"train", "evaluate"}
    assert page.run(page.blocks()["Many at once"])["dag"].get_task("each_found").upstream_task_ids == {"rates"}


def test_links_of_the_page_lead_to_files_and_headings_that_are_there() -> None:
    text = page.PAGE.read_text()
    for target in re.findall(r"\]\(([^)#]+)?(?:#([^)]+))?\)", text):
        file, heading = target
        path = (page.PAGE.parent / file).resolve() if file else page.PAGE
        assert path.exists(), file
        if heading:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), flags=re.MULTILINE)
            assert heading in [re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings], target


def test_the_page_names_settings_that_there_are() -> None:
    table = page.PAGE.read_text().partition("## Settings")[2]
    named = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert named
    assert named <= {field.name for field in dataclasses.fields(Settings)}
