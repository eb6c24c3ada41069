"""A target keeps within its budgets when it is asked to, and nothing goes that somebody still needs."""

from __future__ import annotations

import uuid

import pytest

from airflow_provider.scriptrun.errors import UnknownRunError
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets.contract import Limits, Outcome

DAY_S = 86_400.0
NOTHING = Limits(budget_bytes=0, budget_age_s=0, environment_budget_bytes=0, environment_age_s=0)


def age(place) -> None:
    """Let all that the target keeps look unused for a month. What vanishes meanwhile is no trouble."""
    place.run("find", place.root, "-exec", "touch", "-h", "-d", "30 days ago", "{}", "+", check=False)


def test_what_is_old_goes_on_demand_and_what_a_run_uses_stays(fresh_client, fresh_place):
    old = fresh_client.finish("print('old')")
    fifo = fresh_place.fifo(uuid.uuid4().hex)
    script = "import sys; print('up', flush=True); open(sys.argv[1]).read(); open('outputs/result', 'w').write('done')"
    argv = ("python", "main.py", fifo)
    running = fresh_client.start(script, argv=argv).run_id
    fresh_client.wait_for(running, "up")
    age(fresh_place)
    removed = fresh_client.target.clean(Limits(budget_age_s=14 * DAY_S, environment_age_s=14 * DAY_S))
    assert removed["runs"] == 1
    assert removed["snapshots"] == 1
    assert removed["bytes"] > 0
    assert fresh_client.target.status([old.run_id]) == {}
    fresh_place.let_go(fifo)
    assert fresh_client.follow(running).end.status is Status.COMPLETED
    (content,) = (b"".join(file.chunks) for file in fresh_client.target.fetch(running, ["outputs/result"]))
    assert content == b"done"
    # The snapshot of the run that was alive needs not travel again.
    request, _ = fresh_client.request(script, argv=("true",))
    fresh_client.run_ids.append(request.run_id)
    assert fresh_client.target.start(request).outcome is Outcome.ACCEPTED


def test_what_was_just_sent_or_finished_stays_however_small_the_budget(client):
    script = f"print('{uuid.uuid4().hex}')"
    finished = client.finish(script)
    request, tree = client.request("print('sent, not started')")
    client.target.send(tree)
    client.target.clean(NOTHING)
    assert client.target.status([finished.run_id])[finished.run_id].status is Status.COMPLETED
    assert client.follow(finished.run_id).log == finished.log
    client.run_ids.append(request.run_id)
    assert client.target.start(request).outcome is Outcome.ACCEPTED


def test_a_run_that_was_removed_is_unknown_and_not_an_error_of_ours(fresh_client, fresh_place):
    run_id = fresh_client.finish("print('old')").run_id
    age(fresh_place)
    fresh_client.target.clean(Limits(budget_age_s=DAY_S))
    with pytest.raises(UnknownRunError):
        fresh_client.follow(run_id)
    fresh_client.run_ids.clear()
