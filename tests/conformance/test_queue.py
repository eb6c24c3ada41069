"""``max_runs`` bounds what a target executes at once; the rest is Queued there, and its turn comes."""

from __future__ import annotations

import uuid

from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets.contract import Limits


def test_no_more_runs_than_allowed_execute_at_once_and_the_rest_waits_for_its_turn(fresh_client, fresh_place):
    limits = Limits(grace_s=1.0, max_runs=2)
    fifos = [fresh_place.fifo(uuid.uuid4().hex) for _ in range(3)]
    script = "import sys; print('up', flush=True); open(sys.argv[1]).read()"
    runs = []
    for fifo in fifos[:2]:
        runs.append(fresh_client.start(script, argv=("python", "main.py", fifo), limits=limits).run_id)
        fresh_client.wait_for(runs[-1], "up")
    runs.append(fresh_client.start(script, argv=("python", "main.py", fifos[2]), limits=limits).run_id)
    queued = fresh_client.follow(runs[2], until=lambda f: f.status.status is Status.QUEUED)
    assert (queued.log, queued.status.started_at) == (b"", None)
    fresh_place.let_go(fifos[0])
    assert fresh_client.follow(runs[0]).end.status is Status.COMPLETED
    fresh_client.wait_for(runs[2], "up")
    for fifo in fifos[1:]:
        fresh_place.let_go(fifo)
    ends = [fresh_client.follow(run).end for run in runs]
    assert [end.status for end in ends] == [Status.COMPLETED] * 3
    assert ends[2].phases["queue"] > 0
