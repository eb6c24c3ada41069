"""A run depends on nobody's life; a small JSON handle is enough to come back to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid

import pytest

from airflow_provider.scriptrun.errors import OtherHostError, TargetUnreachableError, UnknownRunError
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets.contract import Cursor, Handle, Stream
from tests.conformance.client import Client

#: A worker in a process of its own: starts a run, says which, and watches it until it is killed.
WORKER = """
import sys
from tests.conformance.client import Client
from tests.conformance.targets import find_place

with find_place(sys.argv[1]).open() as target:
    client = Client(target)
    started = client.start(sys.argv[2], argv=("python", "main.py", sys.argv[3]))
    client.wait_for(started.run_id, "line 1")
    print(target.handle(started, "lineage").to_json(), flush=True)
    client.follow(started.run_id)
"""
SCRIPT = """
import sys
print("line 1", flush=True)
open(sys.argv[1]).read()
for number in range(2, 1000):
    print("line", number)
"""


@pytest.mark.core
def test_a_run_goes_on_when_its_worker_is_killed_and_another_one_reads_all_of_its_log(place):
    fifo = place.fifo(uuid.uuid4().hex)
    command = [sys.executable, "-c", WORKER, place.document(), SCRIPT, fifo]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, start_new_session=True)
    line = next(line for line in worker.stdout if line.startswith(b"{"))  # Airflow may log before
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    handle = Handle.from_document(line.decode())
    place.let_go(fifo)
    with place.open(host_id=handle.host_id, version=handle.supervisor) as target:
        followed = Client(target).follow(handle.run_id)
    assert followed.end.status is Status.COMPLETED
    assert followed.log.decode().splitlines() == [f"line {number}" for number in range(1, 1000)]


def test_a_handle_is_small_plain_json_and_enough_to_come_back(place):
    target = place.open()
    started = Client(target).start("print('here')")
    handle = target.handle(started, "a lineage")
    text = handle.to_json()
    assert len(text) < 1000
    assert Handle.from_document(json.loads(text)) == handle
    assert (handle.run_id, handle.lineage, handle.root) == (started.run_id, "a lineage", target.root)
    assert handle.host_id
    assert handle.supervisor
    target.close()
    with place.open(host_id=handle.host_id, version=handle.supervisor) as another:
        assert Client(another).follow(handle.run_id).log == b"here\n"


def test_a_supervisor_version_that_is_gone_is_replaced_by_ours(client, place):
    followed = client.finish("print('here')")
    with place.open(version="0.0.1-000000000000") as target:
        assert Client(target).follow(followed.run_id).log == b"here\n"


def test_on_another_host_than_the_one_expected_every_verb_refuses_and_nothing_happens(client, place):
    finished = client.finish("print('here')")
    request, tree = client.request("print('never')")
    client.target.send(tree)
    with place.open(host_id="another machine") as elsewhere:
        for verb in (
            lambda: elsewhere.check(),
            lambda: elsewhere.start(request),
            lambda: elsewhere.send(tree),
            lambda: elsewhere.prepare(request),
            lambda: elsewhere.poll([Cursor(finished.run_id)], wait_s=0),
            lambda: elsewhere.cancel(finished.run_id),
            lambda: elsewhere.files(finished.run_id),
            lambda: list(elsewhere.fetch(finished.run_id, ["run.log"])),
        ):
            with pytest.raises(OtherHostError, match="another machine"):
                verb()
    assert client.target.status([request.run_id]) == {}


def test_one_poll_speaks_of_many_runs_and_of_each_for_itself(client, target):
    finished = [client.finish(f"print({number})") for number in range(3)]
    news = target.poll([*(Cursor(f.run_id) for f in finished), Cursor("nobody")], wait_s=20)
    found = {item.run_id: item for item in news}
    assert [found[f.run_id].data(Stream.RUN_LOG) for f in finished] == [b"0\n", b"1\n", b"2\n"]
    assert all(found[f.run_id].is_last for f in finished)
    assert isinstance(found["nobody"].error, UnknownRunError)


def test_a_poll_without_news_returns_empty_after_its_time(client, target, place):
    fifo = place.fifo(uuid.uuid4().hex)
    started = client.start("import sys; print('up', flush=True); open(sys.argv[1])", argv=("python", "main.py", fifo))
    followed = client.wait_for(started.run_id, "up\n")
    cursor = Cursor(started.run_id, seen=followed.status.serial, offsets={Stream.RUN_LOG: 3})
    news = target.poll([cursor], wait_s=0.2)
    while news:  # its status may have changed once more
        cursor = cursor.after(news[0])
        news = target.poll([cursor], wait_s=0.2)
    assert news == []
    place.let_go(fifo)


def test_a_closed_target_ends_a_poll_that_waits_and_its_runs_do_not_notice(client, place):
    import threading

    fifo = place.fifo(uuid.uuid4().hex)
    started = client.start("import sys; print('up', flush=True); open(sys.argv[1])", argv=("python", "main.py", fifo))
    followed = client.wait_for(started.run_id, "up\n")
    waiting = place.open()
    waiting.check()
    cursor = Cursor(started.run_id, seen=followed.status.serial, offsets={Stream.MESSAGES: 0})
    raised = []

    def wait():
        try:
            while True:
                waiting.poll([cursor], wait_s=60)
        except TargetUnreachableError as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(0.3)
    waiting.close()
    thread.join(30)
    assert not thread.is_alive()
    assert raised
    place.let_go(fifo)
    assert client.follow(started.run_id).end.status is Status.COMPLETED
