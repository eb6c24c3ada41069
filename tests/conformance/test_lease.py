"""Nothing runs unwatched for ever: each poll renews a lease, and a run that nobody watches ends itself."""

from __future__ import annotations

import time
import uuid

import pytest

from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets.contract import Cursor, Limits

LIMITS = Limits(grace_s=1.0, orphan_after_s=2.0)
SCRIPT = "import sys; print('up', flush=True); open(sys.argv[1]).read()"


@pytest.mark.slow
def test_a_run_that_nobody_polls_is_orphaned_though_its_status_is_asked_for(client, place, target):
    started = client.start(SCRIPT, argv=("python", "main.py", place.fifo(uuid.uuid4().hex)), limits=LIMITS)
    deadline = time.monotonic() + 30
    status = target.status([started.run_id])[started.run_id]
    while not status.is_terminal and time.monotonic() < deadline:
        time.sleep(0.2)  # nothing else may be asked: a poll would be watching
        status = target.status([started.run_id])[started.run_id]
    assert (status.status, status.reason) == (Status.FAILED, Reason.ORPHANED) or status.reason is Reason.ORPHANED


@pytest.mark.slow
def test_a_run_that_is_polled_lives(client, place, target):
    fifo = place.fifo(uuid.uuid4().hex)
    started = client.start(SCRIPT, argv=("python", "main.py", fifo), limits=LIMITS)
    until = time.monotonic() + 3 * LIMITS.orphan_after_s
    cursor = Cursor(started.run_id)
    while time.monotonic() < until:
        for news in target.poll([cursor], wait_s=0.5):
            cursor = cursor.after(news)
            assert not news.status.is_terminal
    place.let_go(fifo)
    assert client.follow(started.run_id).end.status is Status.COMPLETED


def test_without_a_lease_a_run_waits_for_its_watcher(client, place, target):
    fifo = place.fifo(uuid.uuid4().hex)
    limits = Limits(grace_s=1.0, orphan_after_s=None)
    started = client.start(SCRIPT, argv=("python", "main.py", fifo), limits=limits)
    place.let_go(fifo)
    assert client.follow(started.run_id).end.status is Status.COMPLETED
