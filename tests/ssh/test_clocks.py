"""No decision compares the worker's clock with the host's: one that is an hour off changes nothing."""

from __future__ import annotations

import time

import pytest

from airflow_provider.scriptrun.runs.lease import LEASE_MARGIN_SECONDS, WATCHED_SECONDS, longest_silence_s, over_at
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets.contract import Limits

pytestmark = [pytest.mark.needs("sshd"), pytest.mark.slow]

HOUR_S = 3600.0


@pytest.mark.parametrize("skew_s", [-HOUR_S, HOUR_S], ids=["behind", "ahead"])
def test_a_run_works_when_the_workers_clock_is_an_hour_off(worker, server, monkeypatch, skew_s):
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + skew_s)
    worker.connect(server.connection())
    for _ in range(2):  # the second time with a remembered host and a snapshot that is there
        run = worker.submit({"main.py": "print('works')"})
        details = run.wait_for_completion()
        assert details["status"] == "Completed"
        phases = details["record"]["phases"]
        assert all(seconds is None or 0 <= seconds < 60 for seconds in phases.values()), phases


@pytest.mark.parametrize("skew_s", [-HOUR_S, HOUR_S], ids=["behind", "ahead"])
@pytest.mark.slow
def test_a_lease_is_counted_by_the_hosts_clock_alone(worker, server, monkeypatch, skew_s):
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + skew_s)
    with worker.client(server.connection()) as client:
        started = client.start(
            "print('begun', flush=True)\nimport time\ntime.sleep(4)\nprint('over')", limits=Limits(orphan_after_s=3)
        )
        followed = client.follow(started.run_id)  # each poll renews the lease: it is watched all the time
    assert (followed.end.status, followed.log) == (Status.COMPLETED, b"begun\nover\n")


def test_how_long_a_run_is_unwatched_is_one_clocks_difference():
    for now in (0.0, HOUR_S, 1e9):
        over = over_at(now, orphan_after_s=60.0, grace_s=5.0)
        assert over - now == WATCHED_SECONDS + 60.0 + 5.0 + LEASE_MARGIN_SECONDS
    # and of a watcher that goes on, of its monotonic clock: no other clock is asked
    assert longest_silence_s(orphan_after_s=60.0, grace_s=5.0) == 60.0 + 5.0 + LEASE_MARGIN_SECONDS
