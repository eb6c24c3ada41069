"""A worker that dies at each named point, and the next try: one run of the script on the host, whole."""

from __future__ import annotations

import pytest

from airflow_provider.scriptrun import Run, Workspace
from airflow_provider.scriptrun.runs import crash_points
from tests.ssh.tries import EXPERIMENT, Try
from tests.ssh.watched import SCRIPT, Site

pytestmark = [pytest.mark.needs("sshd"), pytest.mark.slow]

POINTS = [value for name, value in vars(crash_points).items() if name.isupper() and name != "VARIABLE"]


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_any_point_leaves_exactly_one_run_for_the_next_try(worker, server, point):
    worker.connect(server.connection())
    site = Site(server, point, gated=point == crash_points.WHILE_RUNNING, lines=1000)
    source = worker.folder / "source"
    source.mkdir()
    (source / "main.py").write_text(SCRIPT)
    first = Try(worker.folder, 1, site.arguments, point)
    assert first.was_killed()
    second = Try(worker.folder, 2, site.arguments)
    if point == crash_points.WHILE_RUNNING:
        site.let_go()
    record = second.record()
    run = Run(Workspace.from_config(), EXPERIMENT, record["run_id"])
    site.assert_whole(run, record)
    folder = worker.folder / "airflow" / "scriptrun" / "experiments" / EXPERIMENT
    assert [found.name for found in folder.iterdir() if (found / "record.json").exists()] == [record["run_id"]]
