"""Following runs: news at once, streams by offset, many runs in one request, and an end that is seen at once."""

from __future__ import annotations

import os
import shutil
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.supervisor.session import Part, start_request, wait_until

#: From the verdict to the reply, on a machine that is busy with something else; 2 ms where nothing else runs.
SOON_S = 2.0


@pytest.fixture
def gate(tmp_path):
    """Return a FIFO: a script reads lines from it, a test writes them."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    yield path, lambda: os.write(descriptor, b"go\n")
    os.close(descriptor)


def test_a_poll_tells_at_once_what_is_new_and_else_waits(session, gate):
    path, open_gate = gate
    run = session.ask("start", **start_request("sh", "-c", 'read line < "$0"; echo said', str(path)))["run_id"]
    serial = session.until(run, "Running")["serial"]

    begin = time.monotonic()
    assert session.poll(run, seen=serial, run_log=0, wait_s=0.3) == {}
    assert time.monotonic() - begin >= 0.3

    session.send("poll", runs=[{"id": run, "seen": serial, "streams": {"run.log": 0}}], wait_s=20, max_bytes=1 << 20)
    open_gate()
    news = session.news()[run]
    assert news.data["run.log"] in (b"said\n", b"")
    assert session.wait(run)["status"] == "Completed"


def test_the_end_of_a_run_is_told_to_whoever_waits_for_it_at_once(session, gate):
    path, open_gate = gate
    run = session.ask("start", **start_request("sh", "-c", 'read line < "$0"', str(path)))["run_id"]
    serial = session.until(run, "Running")["serial"]
    session.send("poll", runs=[{"id": run, "seen": serial, "streams": {}}], wait_s=20, max_bytes=1)

    begin = time.monotonic()
    open_gate()
    status = session.news()[run].status

    assert status["status"] == "Completed"
    assert time.monotonic() - begin < SOON_S


def test_a_poll_watches_many_runs_and_tells_only_about_those_with_news(session, gate):
    path, open_gate = gate
    runs = [session.ask("start", **start_request("sleep", "600"))["run_id"] for _ in range(8)]
    runs.append(session.ask("start", **start_request("sh", "-c", 'read line < "$0"; exit 7', str(path)))["run_id"])
    serials = {run: session.until(run, "Running")["serial"] for run in runs}

    wanted = [{"id": run, "seen": serials[run], "streams": {"run.log": 0}} for run in runs]
    session.send("poll", runs=wanted, wait_s=20, max_bytes=1 << 20)
    open_gate()
    news = session.news()

    assert list(news) == [runs[-1]]
    assert news[runs[-1]].status["exit_code"] == 7


def test_an_unknown_run_is_an_error_of_its_own_among_others(session):
    run = session.run("true")["run"]

    news = session.poll("nobody", run)

    assert news["nobody"]["error"]["code"] == "no_such_run"
    assert news[run].status["status"] == "Completed"


def test_when_a_verdict_is_told_the_streams_are_whole(session):
    for _ in range(5):
        run = session.ask("start", **start_request("sh", "-c", "head -c 300000 /dev/zero; echo end"))["run_id"]
        offset, over = 0, False
        while not over:
            part = session.poll(run, run_log=offset, wait_s=0)[run]
            over = part.status["status"] == "Completed" and part.streams["run.log"]["size"] == offset
            offset += len(part.data["run.log"])
            if part.status["status"] == "Completed":
                assert part.streams["run.log"]["size"] == 300004
        assert offset == 300004


def test_all_streams_are_read_from_their_own_offsets(session):
    body = 'printf 0123456789; printf abcdef > "$SCRIPTRUN_MESSAGES"'
    run = session.run("sh", "-c", body)["run"]

    part = session.poll(run, run_log=4, messages=2, build_log=0)[run]

    assert (part.data["run.log"], part.data["messages.jsonl"]) == (b"456789", b"cdef")
    assert part.streams["run.log"] == {"offset": 4, "length": 6, "size": 10}
    assert list(part.streams) == ["run.log", "messages.jsonl", "build.log"]


def test_a_stream_that_is_no_stream_is_refused(session):
    run = session.run("true")["run"]

    session.send("poll", runs=[{"id": run, "seen": -1, "streams": {"../request.json": 0}}], wait_s=0, max_bytes=1)

    assert session.news()[run]["error"]["code"] == "bad_request"


def test_a_log_read_in_chunks_of_any_size_is_the_log(session):
    data = os.urandom(200_000)
    path = session.process.args[-1]
    source = os.path.join(os.path.dirname(path), "source")
    with open(source, "wb") as file:
        file.write(data)
    run = session.run("cat", source)["run"]

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.integers(min_value=9_000, max_value=150_000), min_size=1, max_size=8))
    def check(sizes: list[int]) -> None:
        found = b""
        while len(found) < len(data):
            size = sizes[len(found) % len(sizes)]
            part = session.poll(run, run_log=len(found), max_bytes=size)[run]
            chunk = part.data["run.log"]
            assert 0 < len(chunk) <= size
            found += chunk
        assert found == data

    check()


def test_a_poll_that_waits_ends_when_the_other_side_hangs_up(session):
    run = session.ask("start", **start_request("sleep", "600"))["run_id"]
    serial = session.until(run, "Running")["serial"]
    session.send("poll", runs=[{"id": run, "seen": serial, "streams": {}}], wait_s=600, max_bytes=1)

    session.process.stdin.close()

    assert session.process.wait(20) == 0


def test_a_poll_that_waits_makes_way_for_the_next_request(session):
    run = session.ask("start", **start_request("sleep", "600"))["run_id"]
    serial = session.until(run, "Running")["serial"]
    session.send("poll", runs=[{"id": run, "seen": serial, "streams": {}}], wait_s=600, max_bytes=1)
    session.send("hello")

    assert session.news() == {}
    assert session.receive()["protocol"] == 1


def test_a_session_ends_quietly_when_nobody_reads_its_answers(session, capfd):
    session.process.stdout.close()
    session.send("hello")

    assert session.process.wait(20) == 0
    assert capfd.readouterr().err == ""


def test_a_run_that_was_removed_meanwhile_ends_a_waiting_poll(session, target):
    run = session.run("true")["run"]
    serial = session.poll(run)[run].status["serial"]
    wait_until(lambda: not target.processes())
    session.send("poll", runs=[{"id": run, "seen": serial, "streams": {}}], wait_s=20, max_bytes=1)

    shutil.rmtree(target.run(run).folder)

    assert session.news()[run]["error"]["code"] == "no_such_run"


def test_a_session_that_cannot_use_inotify_still_sees_the_end(target, gate, tmp_path):
    path, open_gate = gate
    site = tmp_path / "blind"
    shutil.copytree(target.home, site)
    module = site / "scriptrun_supervisor" / "inotify.py"
    module.write_text(module.read_text().replace('if sys.platform != "linux":', "if True:"))
    shutil.rmtree(site / "scriptrun_supervisor" / "__pycache__")
    target.home = site
    session = target.session()
    run = session.ask("start", **start_request("sh", "-c", 'read line < "$0"', str(path)))["run_id"]
    serial = session.until(run, "Running")["serial"]
    session.send("poll", runs=[{"id": run, "seen": serial, "streams": {}}], wait_s=20, max_bytes=1)
    open_gate()

    part = session.news()[run]

    assert isinstance(part, Part)
    assert part.status["status"] == "Completed"


def test_status_does_not_renew_the_lease_and_poll_does(session, target):
    run = session.ask("start", **start_request("sleep", "600"))["run_id"]
    session.until(run, "Running")
    lease = target.run(run).lease
    os.utime(lease, (1, 1))

    session.ask("status", runs=[run])
    assert os.stat(lease).st_mtime == 1

    target.session().poll(run)
    assert os.stat(lease).st_mtime > 1


def test_a_run_that_nobody_watches_ends_itself(session, target):
    request = start_request("sleep", "600", orphan_after_s=0.6)
    run = session.ask("start", **request)["run_id"]
    wait_until(lambda: session.ask("status", runs=[run])["runs"][run]["status"] == "Failed")

    status = session.poll(run)[run].status

    assert status["reason"] == "orphaned"
    assert "0.6 s" in status["message"]


@pytest.mark.slow
def test_a_run_that_somebody_watches_goes_on(session, gate):
    path, open_gate = gate
    request = start_request("sh", "-c", 'read line < "$0"', str(path), orphan_after_s=1.5)
    run = session.ask("start", **request)["run_id"]
    serial = session.until(run, "Running")["serial"]

    assert session.poll(run, seen=serial, wait_s=4) == {}
    open_gate()

    assert session.wait(run)["status"] == "Completed"
