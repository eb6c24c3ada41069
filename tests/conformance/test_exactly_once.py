"""Whatever is repeated, raced or late: a run id runs at most once, and a lineage has at most one run alive."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace

import pytest

from airflow_provider.scriptrun.errors import TargetRefusedError
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets.contract import Attempt, Outcome

#: Says that it ran, in a file that every run of the lineage shares, then waits on a FIFO named by its argument, if any.
COUNT = """
import os, sys
with open(os.path.join(os.environ["SCRIPTRUN_CHECKPOINTS"], "ran"), "a") as file:
    file.write(os.environ["SCRIPTRUN_RUN_ID"] + "\\n")
print("counted", open(file.name).read().split(), flush=True)
if len(sys.argv) > 1:
    open(sys.argv[1]).read()
"""
STARTERS = 12


def try_(number: int, **values: object) -> Attempt:
    """Return the attempt of a try."""
    return Attempt(try_number=number, **{"max_tries": 3, **values})


@pytest.fixture
def lineage() -> str:
    return str(uuid.uuid4())


def test_a_start_that_is_repeated_is_the_same_run(client):
    request, tree = client.request(COUNT)
    first, second = client.submit(request, tree), client.submit(request, tree)
    followed = client.follow(request.run_id)
    third = client.submit(request, tree)
    assert [started.run_id for started in (first, second, third)] == [request.run_id] * 3
    assert [started.joined for started in (first, second, third)] == [False, True, True]
    assert third.status.status is Status.COMPLETED
    assert followed.log == f"counted ['{request.run_id}']\n".encode()


@pytest.mark.slow
def test_of_many_that_start_the_same_run_at_once_it_runs_once(client, place):
    request, tree = client.request(COUNT)
    client.target.send(tree)
    client.run_ids.append(request.run_id)
    answers = race([request] * STARTERS, place)
    assert {answer.run_id for answer in answers} == {request.run_id}
    assert sum(not answer.joined for answer in answers) == 1
    assert client.follow(request.run_id).log == f"counted ['{request.run_id}']\n".encode()


@pytest.mark.slow
def test_of_many_that_race_for_a_lineage_all_get_the_same_run(client, place, lineage):
    requests = [client.request(COUNT, lineage=lineage)[0] for _ in range(STARTERS)]
    client.target.send(client.request(COUNT)[1])
    client.run_ids += [request.run_id for request in requests]
    answers = race(requests, place)
    assert {answer.outcome for answer in answers} == {Outcome.ACCEPTED}
    assert len({answer.run_id for answer in answers}) == 1
    assert sum(not answer.joined for answer in answers) == 1
    assert client.follow(answers[0].run_id).log == f"counted ['{answers[0].run_id}']\n".encode()


def race(requests, place):
    """Start all of them at once, each from a target object of its own."""
    barrier, answers = threading.Barrier(len(requests)), []

    def start(request):
        with place.open() as target:
            target.check()
            barrier.wait()
            answers.append(target.start(request))

    threads = [threading.Thread(target=start, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(requests)
    return answers


@pytest.mark.core
def test_a_later_try_joins_the_run_that_is_not_over(client, place, lineage):
    fifo = place.fifo(lineage)
    first = client.start(COUNT, argv=("python", "main.py", fifo), lineage=lineage, attempt=try_(1))
    client.wait_for(first.run_id, "counted")
    second = client.start(COUNT, lineage=lineage, attempt=try_(2))
    place.let_go(fifo)
    assert (second.run_id, second.joined, second.outcome) == (first.run_id, True, Outcome.ACCEPTED)
    assert client.follow(first.run_id).end.status is Status.COMPLETED


def test_a_later_try_joins_the_run_that_has_completed(client, lineage):
    first = client.finish(COUNT, lineage=lineage, attempt=try_(1))
    second = client.start(COUNT, lineage=lineage, attempt=try_(2))
    assert (second.run_id, second.joined) == (first.run_id, True)
    assert second.status.status is Status.COMPLETED


def test_after_a_failed_try_the_next_one_runs_anew_and_hears_of_the_failed_one(client, lineage):
    failing = COUNT + "\nsys.exit(3)"
    first = client.finish(failing, lineage=lineage, attempt=try_(1))
    same = client.start(failing, lineage=lineage, attempt=try_(1))
    second = client.start(COUNT, lineage=lineage, attempt=try_(2))
    assert (same.run_id, same.joined) == (first.run_id, True)
    assert (second.run_id == first.run_id, second.joined, second.previous) == (False, False, (first.run_id,))
    assert client.follow(second.run_id).log == f"counted ['{first.run_id}', '{second.run_id}']\n".encode()


def test_an_older_try_is_told_that_it_is_superseded_and_touches_nothing(client, place, lineage):
    fifo = place.fifo(lineage)
    newer = client.start(COUNT, argv=("python", "main.py", fifo), lineage=lineage, attempt=try_(2))
    client.wait_for(newer.run_id, "counted")
    older = client.start(COUNT, lineage=lineage, attempt=try_(1))
    assert (older.outcome, older.run_id, older.try_number) == (Outcome.SUPERSEDED, newer.run_id, 2)
    place.let_go(fifo)
    assert client.follow(newer.run_id).log == f"counted ['{newer.run_id}']\n".encode()


@pytest.mark.parametrize(
    "cleared", [{"max_tries": 7}, {"clear_number": 1, "delivered": True}], ids=["a task", "a DAG run, after delivery"]
)
def test_a_cleared_task_starts_anew_once_what_was_alive_is_dead(client, place, lineage, cleared):
    fifo = place.fifo(lineage)
    first = client.start(COUNT, argv=("python", "main.py", fifo), lineage=lineage, attempt=try_(1))
    client.wait_for(first.run_id, "counted")
    second = client.start(COUNT, lineage=lineage, attempt=try_(2, **cleared))
    ended = client.target.status([first.run_id])[first.run_id]
    assert (ended.status, ended.reason) == (Status.CANCELED, Reason.SUPERSEDED)
    assert second.run_id != first.run_id
    assert client.follow(second.run_id).log == f"counted ['{first.run_id}', '{second.run_id}']\n".encode()


def test_a_dag_run_that_is_cleared_before_delivery_joins_what_has_completed(client, lineage):
    first = client.finish(COUNT, lineage=lineage, attempt=try_(1))
    second = client.start(COUNT, lineage=lineage, attempt=try_(1, clear_number=1))
    assert (second.run_id, second.joined) == (first.run_id, True)


def test_a_run_that_was_cancelled_before_it_started_never_starts(client, target):
    request, tree = client.request(COUNT)
    status = target.cancel(request.run_id, lineage=request.lineage)
    started = client.submit(request, tree)
    assert status.status is Status.CANCELED
    assert (started.outcome, started.run_id) == (Outcome.CANCELED, request.run_id)
    assert target.status([request.run_id])[request.run_id].status is Status.CANCELED


def test_two_lineages_do_not_know_of_each_other(client):
    one, other = client.finish(COUNT), client.finish(COUNT)
    assert one.log == f"counted ['{one.run_id}']\n".encode()
    assert other.log == f"counted ['{other.run_id}']\n".encode()


def test_a_run_id_that_belongs_to_another_lineage_is_refused(client, target):
    request, tree = client.request(COUNT)
    client.submit(request, tree)
    client.follow(request.run_id)
    with pytest.raises(TargetRefusedError, match=request.run_id):
        target.start(replace(request, lineage=str(uuid.uuid4())))
