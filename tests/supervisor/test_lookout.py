"""Many quiet runs cost a session next to nothing, and what happens to one of them is seen all the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time

import pytest

from airflow_provider.scriptrun.supervisor import inotify, journal, lease, lookout, state
from airflow_provider.scriptrun.supervisor.layout import Layout
from airflow_provider.scriptrun.supervisor.lookout import Lookout
from airflow_provider.scriptrun.supervisor.serve import Input
from tests.supervisor.session import start_request, wait_until
from tests.supervisor.test_exactly_one import guard_and_supervisor

LOG = ("run.log",)
SOON_S = 30.0


@pytest.fixture
def layout(tmp_path):
    return Layout(str(tmp_path / "root"))


@pytest.fixture(params=["inotify", "without inotify"])
def ears(request, monkeypatch):
    if request.param != "inotify":
        monkeypatch.setattr(inotify, "open_inotify", lambda: None)
    return request.param


@pytest.fixture
def looks(monkeypatch):
    """The ids of the runs that were looked at; nothing but their status files is read."""
    found = []

    def look(layout, run_id):
        found.append(run_id)
        return journal.read(layout.run(run_id))

    monkeypatch.setattr(state, "look", look)
    return found


@pytest.fixture
def silence():
    """The input of a session whose other side says nothing."""
    descriptor, other = os.pipe()
    yield Input(descriptor)
    os.close(descriptor)
    os.close(other)


def make(layout, *run_ids: str, term_s: float = 600.0) -> None:
    for run_id in run_ids:
        run = layout.run(run_id)
        os.makedirs(run.folder)
        for path in (run.run_log, run.lease):
            open(path, "w").close()
        with open(run.request, "w") as file:
            json.dump({"limits": {"orphan_after_s": term_s}}, file)
        journal.Journal(run, journal.blank(run_id)).write()


def listening(layout, *run_ids: str, streams=LOG) -> Lookout:
    """Return a lookout that has seen these runs and waits for what happens to them."""
    found = Lookout(layout)
    found.watch(dict.fromkeys(run_ids, streams))
    found.listen()
    found.look()
    return found


def test_only_a_run_to_which_something_happens_is_looked_at(layout, looks, silence, ears):
    runs = [f"r{number}" for number in range(200)]
    make(layout, *runs)
    watch = listening(layout, *runs)
    assert sorted(looks) == sorted(runs)
    looks.clear()
    with open(layout.run("r7").run_log, "ab") as file:
        file.write(b"x")
    journal.Journal(layout.run("r9"), journal.blank("r9")).write(message="said")
    while len(looks) < 2:
        assert watch.wait(silence, SOON_S)
        watch.look()
    assert sorted(looks) == ["r7", "r9"]
    watched = {item.run.id: item for item in watch.watch(dict.fromkeys(runs, LOG))}
    assert watched["r7"].sizes["run.log"] == 1
    assert watched["r9"].document["message"] == "said"
    watch.look()
    assert len(looks) == 2, "the next question about them looks at none"


def test_a_stream_that_nobody_reads_makes_nobody_look(layout, looks, silence, ears):
    make(layout, "loud", "other")
    watch = listening(layout, "loud", "other", streams=())
    looks.clear()
    with open(layout.run("loud").run_log, "ab") as file:
        file.write(b"x")
    journal.Journal(layout.run("other"), journal.blank("other")).write(message="said")
    assert watch.wait(silence, SOON_S)
    watch.look()
    assert looks == ["other"]


def test_what_happened_between_two_questions_is_seen_by_the_next(layout, looks, ears):
    make(layout, "r", "quiet")
    watch = listening(layout, "r", "quiet")
    looks.clear()
    journal.Journal(layout.run("r"), journal.blank("r")).write(message="said")
    (item, _) = watch.watch({"r": LOG, "quiet": LOG})
    watch.look()
    assert (item.document["message"], looks) == ("said", ["r"])


def test_a_run_whose_folder_goes_away_and_comes_back_is_heard_again(layout, looks, silence, ears):
    make(layout, "r")
    watch = listening(layout, "r")
    shutil.rmtree(layout.run("r").folder)
    assert watch.wait(silence, SOON_S)
    assert list(watch.look()) == ["r"]
    make(layout, "r")
    watch.watch({"r": LOG})
    watch.listen()
    assert watch.look() == {}
    with open(layout.run("r").run_log, "ab") as file:
        file.write(b"x")
    assert watch.wait(silence, SOON_S)


def test_all_runs_are_looked_at_now_and_then_though_nothing_is_heard(layout, looks, silence, ears, monkeypatch):
    monkeypatch.setattr(lookout, "LOOK_PAUSE_S", 0.05)
    make(layout, "r", "s")
    watch = listening(layout, "r", "s")
    looks.clear()
    while len(looks) < 4:
        assert watch.wait(silence, SOON_S)
        watch.look()
    assert looks[:4] == ["r", "s"] * 2


def test_events_that_were_lost_make_it_look_at_all(layout, looks, silence):
    make(layout, "r", "s")
    watch = listening(layout, "r", "s")
    looks.clear()
    with open("/proc/sys/fs/inotify/max_queued_events") as file:
        limit = int(file.read())
    with open(layout.run("r").run_log, "ab", buffering=0) as log, open(layout.run("r").messages, "ab", 0) as messages:
        for _ in range(limit // 2 + 10):
            log.write(b"x")
            messages.write(b"x")
    assert watch.wait(silence, SOON_S)
    watch.look()
    assert sorted(looks) == ["r", "s"]


def test_a_wait_ends_when_the_other_side_says_something(layout, looks):
    make(layout, "r")
    watch = listening(layout, "r")
    descriptor, other = os.pipe()
    threading.Timer(0.05, os.write, (other, b"x")).start()
    assert watch.wait(Input(descriptor), SOON_S) is False
    os.close(descriptor)
    os.close(other)


@pytest.mark.parametrize(
    ("term_s", "pause_s"), [(2.0, 0.2), (0.5, 0.05), (3600.0, 30.0), (0, 30.0), (None, 1.0), ("x", 1.0)]
)
def test_a_lease_is_renewed_a_few_times_per_term(layout, term_s, pause_s):
    make(layout, "r", term_s=term_s)
    run = layout.run("r")
    renewal = lease.Renewal(run)
    os.utime(run.lease, (1, 1))
    renewal.renew(1000.0)
    assert os.stat(run.lease).st_mtime > 1
    assert renewal.due == pytest.approx(1000.0 + pause_s)
    os.utime(run.lease, (1, 1))
    renewal.renew(1000.0 + pause_s * 0.9)
    assert os.stat(run.lease).st_mtime == 1
    renewal.renew(1000.0 + pause_s)
    assert os.stat(run.lease).st_mtime > 1


def test_a_wait_ends_in_time_for_the_shortest_lease(layout, looks, silence):
    make(layout, "long")
    make(layout, "short", term_s=4.0)
    watch = listening(layout, "long", "short")
    for run_id in ("long", "short"):
        os.utime(layout.run(run_id).lease, (1, 1))
    begun = time.monotonic()
    assert watch.wait(silence, SOON_S)
    watch.look()
    assert time.monotonic() - begun < 4.0
    assert os.stat(layout.run("short").lease).st_mtime > 1
    assert os.stat(layout.run("long").lease).st_mtime == 1


# With real runs


def test_whoever_waits_hears_at_once_that_supervisor_and_guard_were_killed(session, target):
    run = session.ask("start", **start_request("sleep", "600"))["run_id"]
    serial = session.until(run, "Running")["serial"]
    guard, supervisor = guard_and_supervisor(target, run)
    session.send("poll", runs=[{"id": run, "seen": serial, "streams": {}}], wait_s=600, max_bytes=1)
    os.kill(guard, signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    status = session.news()[run].status
    assert (status["status"], status["reason"]) == ("Failed", "lost")


def test_a_wake_ends_a_poll_that_waits_and_is_not_answered(session):
    run = session.ask("start", **start_request("sleep", "600"))["run_id"]
    serial = session.until(run, "Running")["serial"]
    session.send("poll", runs=[{"id": run, "seen": serial, "streams": {}}], wait_s=600, max_bytes=1)
    session.send("wake")
    assert session.news() == {}
    session.send("wake")
    session.send("wake")
    assert session.poll(run)[run].status["status"] == "Running"


@pytest.mark.slow
def test_many_runs_are_watched_to_their_ends_where_folders_cannot_be_listened_to(target, tmp_path):
    site = tmp_path / "blind"
    shutil.copytree(target.home, site, ignore=shutil.ignore_patterns("__pycache__"))
    module = site / "scriptrun_supervisor" / "inotify.py"
    module.write_text(module.read_text().replace('if sys.platform != "linux":', "if True:"))
    target.home = site
    session = target.session()
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    door = os.open(gate, os.O_RDWR)
    requests = [start_request("sh", "-c", f'read line < "$0"; exit {n % 7}', str(gate)) for n in range(40)]
    seen = dict.fromkeys([session.ask("start", **request)["run_id"] for request in requests], -1)
    codes, is_open = {}, False
    while len(codes) < 40:
        wanted = [{"id": run, "seen": serial, "streams": {"run.log": 0}} for run, serial in seen.items()]
        session.send("poll", runs=wanted, wait_s=600, max_bytes=1 << 20)
        for run, part in session.news().items():
            seen[run] = part.status["serial"]
            if part.status["status"] in ("Completed", "Failed"):
                codes[run] = part.status["exit_code"]
                del seen[run]
        if not is_open and all(serial > 2 for serial in seen.values()):
            is_open = True
            os.write(door, b"go\n" * 40)
    os.close(door)
    assert sorted(codes.values()) == sorted(n % 7 for n in range(40))
    wait_until(lambda: not target.processes())
