"""The root is put in order after a run, now and then."""

from __future__ import annotations

import os
import time

from tests.supervisor.session import start_request, wait_until


def finish(session, target, **limits) -> str:
    run = session.ask("start", **start_request("true", **limits))["run_id"]
    assert session.wait(run)["status"] == "Completed"
    wait_until(lambda: not target.processes())
    return run


def test_a_stamp_of_a_clock_that_was_set_back_does_not_keep_the_root_from_being_cleaned(session, target):
    finish(session, target, budget_age_s=86400)
    in_a_year = time.time() + 365 * 86400
    os.utime(target.layout.cleaned, (in_a_year, in_a_year))
    finish(session, target, budget_age_s=86400)
    assert os.stat(target.layout.cleaned).st_mtime < in_a_year


def test_a_run_that_brings_limits_leaves_the_root_clean_but_only_once_an_hour(session, target):
    old = finish(session, target)
    assert not os.path.exists(target.layout.cleaned)
    long_ago = time.time() - 100 * 86400
    for folder, _, names in os.walk(target.run(old).folder):
        for name in names:
            os.utime(os.path.join(folder, name), (long_ago, long_ago))
        os.utime(folder, (long_ago, long_ago))

    young = finish(session, target, budget_age_s=86400)

    assert not os.path.exists(target.run(old).code)
    assert os.path.exists(target.run(young).status)
    stamp = os.stat(target.layout.cleaned).st_mtime_ns
    finish(session, target, budget_age_s=86400)
    assert os.stat(target.layout.cleaned).st_mtime_ns == stamp
