"""A person who ends a task in the web interface ends its script."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.browser.site import Site
from tests.e2e.lane import E2E, TASK, Lane

pytestmark = [*E2E, pytest.mark.needs("chromium")]


@pytest.mark.parametrize(("name", "state"), [("local", "Running"), ("local_deferred", "Deferred")])
def test_a_task_marked_failed_ends_its_script(site: Site, lane: Callable[..., Lane], name: str, state: str) -> None:
    one = lane(name)
    started = one.until_started()
    one.until_waiting()
    site.go_to_task(one.dag_id, one.run_id, TASK)
    expect(site.page.get_by_text("the script has started")).to_be_visible()
    expect(site.page.get_by_text(state).first).to_be_visible()
    site.button("Mark Task Instance as...").click()
    site.page.get_by_role("menuitem", name="Failed").click()
    form = site.form()
    expect(form.dialog.get_by_text("Affected Tasks: 1")).to_be_visible()
    form.submit("Confirm")
    one.until_gone(started)
    assert one.until_over() == "failed"
    assert len(one.starts()) == 1
    site.go_to_task(one.dag_id, one.run_id, TASK)
    expect(site.page.get_by_text("Failed").first).to_be_visible()
    if not one.is_deferrable:  # a triggerer may drop what a trigger logs while it is ended
        expect(site.page.get_by_text("The task was ended or cleared; its run is cancelled.")).to_be_visible()
        traceback = site.page.locator("details").filter(has_text="RunCanceledError: ")
        traceback.evaluate("details => { details.open = false }")  # a click would scroll to it
        site.picture("task-ended")
