from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider.scriptrun.supervisor import flock, journal, store
from airflow_provider.scriptrun.supervisor.housekeeping import clean as cleaning
from airflow_provider.scriptrun.supervisor.housekeeping import ended as clean_runs
from airflow_provider.scriptrun.supervisor.housekeeping import leftovers
from airflow_provider.scriptrun.supervisor.housekeeping import stored as clean_store
from airflow_provider.scriptrun.supervisor.layout import Layout, RunLayout, make_folder
from airflow_provider.scriptrun.supervisor.protocol.manifest import encode
from airflow_provider.scriptrun.supervisor.refusal import Refusal
from airflow_provider.scriptrun.supervisor.store.checkout import CheckoutError, checkout
from tests.supervisor.store_target import Parcel, Serve, Session, entries_on_disk, offer_frames, parcel, sha256

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR, DAY = 3600.0, 86400.0
MB = 1024 * 1024


@pytest.fixture
def session(tmp_path: Path) -> Session:
    layout = Layout(str(tmp_path / "root"))
    layout.make_root()
    return Session(layout)


def age(path: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def keep_budget(session: Session, budget: float | None = None, max_age: float | None = None) -> dict[str, int]:
    removed = cleaning.keep_budget(session.layout, budget, max_age)
    assert removed is not None
    assert os.listdir(session.layout.trash) == []
    return removed


def finished_run(
    session: Session, run_id: str, seconds: float = 0.0, status: str = "Completed", collected: bool = False
) -> RunLayout:
    """Leave what a run leaves: a megabyte each of code, of outputs and of its log."""
    run = session.layout.run(run_id)
    for folder in (run.outputs, run.logs, run.inputs):
        os.makedirs(folder)
    Path(run.code, "train.py").write_bytes(b"c" * MB)
    Path(run.outputs, "model").write_bytes(b"m" * MB)
    Path(run.run_log).write_bytes(b"l" * MB)
    Path(run.request).write_text(json.dumps({"run": {"id": run_id, "lineage": "lineage of " + run_id}}))
    Path(run.status).write_text(json.dumps({**journal.blank(run_id), "status": status}))
    for path in [run.lease, run.alive, *([run.collected] if collected else [])]:
        Path(path).touch()
    for path in (run.status, run.lease, run.collected):
        if os.path.exists(path):
            age(path, seconds)
    return run


def old_snapshot(session: Session, name: str, seconds: float) -> Parcel:
    thing = parcel({name: name.encode() * 1000, "same": b"shared by all"})
    session.put(thing)
    age(session.layout.snapshot(thing.id), seconds)
    for blob in thing.blobs:
        age(session.layout.blob(blob), seconds)
    return thing


def test_an_empty_root_is_clean(session: Session) -> None:
    assert keep_budget(session, 0, 0) == {
        "runs": 0,
        "blobs": 0,
        "snapshots": 0,
        "environments": 0,
        "tools": 0,
        "bytes": 0,
    }
    assert os.path.exists(session.layout.cleaned)


def test_an_old_snapshot_goes_with_the_blobs_that_no_other_names(session: Session) -> None:
    old = old_snapshot(session, "old", 15 * DAY)
    young = old_snapshot(session, "young", 13 * DAY)
    removed = keep_budget(session, max_age=14 * DAY)
    assert (removed["snapshots"], removed["blobs"]) == (1, 1)
    assert removed["bytes"] > 0
    assert not store.has_snapshot(session.layout, old.id)
    assert session.offer(old) == [sha256(b"old" * 1000)]
    assert session.offer(young) == []


def test_what_was_just_sent_or_used_stays_however_small_the_budget(session: Session) -> None:
    just_sent = parcel({"a": b"just sent"})
    session.put(just_sent)
    just_used = old_snapshot(session, "used", 15 * DAY)
    assert store.has_snapshot(session.layout, just_used.id)  # as a start does
    finished_run(session, "just-over", collected=True)
    assert keep_budget(session, 0, 0)["bytes"] == 0
    assert session.offer(just_sent) == []
    assert session.offer(just_used) == []


def test_blobs_of_a_broken_transfer_wait_for_the_rest(session: Session) -> None:
    thing = parcel({"a": b"a", "b": b"b"})
    session.offer(thing)
    session.send(thing, [sha256(b"a")])
    age(session.layout.blob(sha256(b"a")), 2 * HOUR)
    age(session.layout.offered(thing.id), 2 * HOUR)
    keep_budget(session, 0, 0)
    assert session.offer(thing) == [sha256(b"b")]
    age(session.layout.blob(sha256(b"a")), 2 * DAY)
    age(session.layout.offered(thing.id), 2 * DAY)
    assert keep_budget(session)["blobs"] == 1
    assert session.offer(thing) == [sha256(b"a"), sha256(b"b")]


def test_a_snapshot_that_is_being_checked_out_or_sent_stays(session: Session) -> None:
    thing = old_snapshot(session, "s", 15 * DAY)
    with store.hold_manifest(session.layout, thing.id, offered=False):
        age(session.layout.snapshot(thing.id), 15 * DAY)
        assert keep_budget(session, 0, 0)["snapshots"] == 0
    assert keep_budget(session, 0, 0)["snapshots"] == 1


@pytest.mark.parametrize("as_input", [False, True], ids=["as its files", "as an input"])
def test_a_snapshot_that_a_waiting_run_needs_stays(session: Session, as_input: bool) -> None:
    thing = old_snapshot(session, "s", 15 * DAY)
    run = finished_run(session, "waiting", 15 * DAY, status="Queued")
    inputs = {"snapshot": None, "inputs": {"data": {"snapshot": thing.id, "file": False}}}
    Path(run.request).write_text(json.dumps(inputs if as_input else {"snapshot": thing.id}))
    lock = flock.take(run.alive)
    assert lock is not None
    assert keep_budget(session, 0, 0)["snapshots"] == 0
    assert os.path.isdir(run.code)
    os.close(lock)


def test_an_old_run_goes_whole_collected_or_not(session: Session) -> None:
    run = finished_run(session, "old", 15 * DAY)
    young = finished_run(session, "young", 13 * DAY)
    removed = keep_budget(session, max_age=14 * DAY)
    assert removed["runs"] == 1
    assert removed["bytes"] >= 3 * MB
    assert not os.path.exists(run.folder)
    assert os.path.exists(Path(young.code, "train.py"))


def test_over_budget_working_copies_go_and_results_stay(session: Session) -> None:
    run = finished_run(session, "a", 3 * HOUR)
    other = finished_run(session, "b", 2 * HOUR)
    assert keep_budget(session, 5 * MB + MB // 2)["runs"] == 1
    assert sorted(os.listdir(run.code)) == ["logs", "outputs"]
    assert Path(run.outputs, "model").stat().st_size == MB
    assert Path(run.run_log).stat().st_size == MB
    assert os.path.exists(Path(other.code, "train.py"))
    assert keep_budget(session, 5 * MB + MB // 2)["runs"] == 0


def test_a_run_that_was_not_collected_keeps_its_results_until_it_is_too_old(session: Session) -> None:
    run = finished_run(session, "a", 3 * DAY)
    keep_budget(session, 0)
    assert Path(run.outputs, "model").exists()
    keep_budget(session, 0, 2 * DAY)
    assert not os.path.exists(run.folder)


def test_of_a_collected_run_the_verdict_stays_for_a_late_try(session: Session) -> None:
    run = finished_run(session, "a", 3 * DAY, collected=True)
    removed = keep_budget(session, 0)
    assert removed["bytes"] >= 3 * MB
    assert not os.path.exists(run.code)
    assert not os.path.exists(run.run_log)
    document = journal.read(run)
    assert document is not None
    assert document["status"] == "Completed"
    assert keep_budget(session, 0)["runs"] == 0
    keep_budget(session, max_age=2 * DAY)
    assert not os.path.exists(run.folder)


def test_a_run_that_lives_is_left_alone(session: Session) -> None:
    run = finished_run(session, "a", 30 * DAY, status="Running")
    over = finished_run(session, "b", 30 * DAY, collected=True)
    locks = [flock.take(run.alive), flock.take(over.alive)]  # one that collects its last words, say
    assert keep_budget(session, 0, 0)["runs"] == 0
    for lock in locks:
        assert lock is not None
        os.close(lock)


def test_a_run_whose_lineage_is_being_decided_about_is_left_alone(session: Session) -> None:
    finished_run(session, "a", 30 * DAY)
    lock = flock.take(session.layout.lineage_lock("lineage of a"))
    assert lock is not None
    assert keep_budget(session, 0, 0)["runs"] == 0
    os.close(lock)
    assert keep_budget(session, 0, 0)["runs"] == 1


def test_a_run_that_is_watched_again_meanwhile_is_left_alone(session: Session) -> None:
    run = finished_run(session, "a", 30 * DAY)
    (facts,) = clean_runs.survey(session.layout, time.time(), HOUR).over
    os.utime(run.lease)  # as a poll does
    assert clean_runs.take(session.layout, facts, clean_runs.Step.REMOVE) is None
    assert os.path.exists(run.folder)


def test_a_run_whose_supervisor_died_unseen_gets_its_verdict_then_goes_by_age(session: Session) -> None:
    from airflow_provider.scriptrun.supervisor import host

    run = finished_run(session, "a", 30 * DAY, status="Running")
    document = {**journal.blank("a"), "status": "Running", "host": {**host.facts(session.layout)}}
    Path(run.status).write_text(json.dumps(document))
    Path(run.begun).touch()
    age(run.status, 30 * DAY)
    keep_budget(session, 0, 14 * DAY)
    verdict = journal.read(run)
    assert verdict is not None
    assert (verdict["status"], verdict["reason"]) == ("Failed", "lost")
    age(run.status, 30 * DAY)
    keep_budget(session, 0, 14 * DAY)
    assert not os.path.exists(run.folder)


def test_a_run_that_cannot_be_judged_does_not_stop_the_others_from_going(session: Session) -> None:
    odd = finished_run(session, "odd", 30 * DAY, status="Dreaming")
    finished_run(session, "old", 30 * DAY)
    assert keep_budget(session, max_age=DAY)["runs"] == 1
    assert os.path.exists(odd.folder)


def test_whatever_a_script_left_goes_and_nothing_else(session: Session, deep_path: Path) -> None:
    run = finished_run(session, "a", 30 * DAY)
    precious = deep_path / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"precious")
    for name in ("link", "outputs/link"):
        Path(run.code, name).symlink_to(precious)
    Path(run.code, "absolute").symlink_to("/")
    os.mkfifo(Path(run.code, "fifo"))
    Path(os.fsdecode(os.fsencode(run.code) + b"/od\xffd\nname")).write_bytes(b"")
    descriptor = os.open(run.code, os.O_RDONLY)
    for _ in range(1000):
        os.mkdir("level", dir_fd=descriptor)
        inner = os.open("level", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    keep_budget(session, max_age=DAY)
    assert not os.path.exists(run.folder)
    assert (precious / "file").read_bytes() == b"precious"


def test_a_working_copy_that_became_a_link_is_not_followed(session: Session, tmp_path: Path) -> None:
    run = finished_run(session, "a", 3 * HOUR, collected=True)
    os.rename(run.code, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", run.code)
    keep_budget(session, 0)
    assert (tmp_path / "elsewhere" / "train.py").exists()
    assert not os.path.lexists(run.code)


def test_one_cleans_at_a_time(session: Session) -> None:
    lock = flock.take(session.layout.clean_lock)
    assert lock is not None
    assert cleaning.keep_budget(session.layout, 0, 0) is None
    (answer,) = session.call(cleaning.clean, {"op": "clean", "budget_bytes": 0, "budget_age_s": 0})
    assert answer["busy"]
    os.close(lock)


def test_what_a_killed_cleaner_or_writer_left_goes(session: Session) -> None:
    layout = session.layout
    Path(make_folder(layout.trash), "half").mkdir()
    Path(layout.trash, "half", "file").touch()
    stale = [Path(layout.incoming, "123.abcd"), Path(layout.snapshots, "x.1.ab.tmp"), Path(layout.lineages, "y.tmp")]
    for path in stale:
        path.touch()
        age(str(path), 2 * HOUR)
    fresh = Path(layout.incoming, "124.abcd")
    fresh.touch()
    keep_budget(session)
    assert not any(path.exists() for path in stale)
    assert fresh.exists()


def test_old_tombstones_go(session: Session) -> None:
    old, young = session.layout.tombstone("old"), session.layout.tombstone("young")
    for path, seconds in ((old, leftovers.TOMBSTONE_KEEP_S + 1), (young, leftovers.TOMBSTONE_KEEP_S - 60)):
        Path(path).touch()
        age(path, seconds)
    keep_budget(session)
    assert not os.path.exists(old)
    assert os.path.exists(young)


def test_a_lineage_outlives_its_runs_and_goes_with_its_checkpoints(session: Session) -> None:
    layout = session.layout
    run = finished_run(session, "a", 30 * DAY)
    record = layout.lineage("l")
    Path(record).write_text(json.dumps({"lineage": "l", "runs": [{"id": "a"}]}))
    Path(make_folder(layout.checkpoint("l")), "epoch-7").touch()
    age(record, 60 * DAY)
    keep_budget(session, max_age=40 * DAY)
    assert os.path.exists(record)  # its run is there
    keep_budget(session, max_age=29 * DAY)
    assert not os.path.exists(run.folder)
    assert not os.path.exists(record)
    assert not os.path.exists(layout.checkpoint("l"))


def test_old_supervisors_go_but_for_those_that_runs_use(session: Session) -> None:
    layout = session.layout
    for version in ("0.1-used", "0.1-unused", "0.2-fresh"):
        Path(make_folder(layout.supervisor(version)), "__main__.py").touch()
        age(layout.supervisor(version), 0 if version == "0.2-fresh" else 8 * DAY)
    run = finished_run(session, "a", status="Running")
    Path(run.status).write_text(json.dumps({**journal.blank("a"), "status": "Running", "supervisor": "0.1-used"}))
    keep_budget(session)
    assert sorted(os.listdir(layout.supervisors)) == ["0.1-used", "0.2-fresh"]


@pytest.mark.parametrize(
    "request_", [{"budget_bytes": -1}, {"budget_age_s": "1"}, {"budget_bytes": True}, {"environments": [1]}]
)
def test_limits_that_are_none_are_refused(session: Session, request_: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        session.call(cleaning.clean, request_)


def test_it_works_on_the_oldest_python(session: Session, oldest_python: str) -> None:
    finished_run(session, "a", 15 * DAY)
    thing = old_snapshot(session, "s", 15 * DAY)
    with Serve(Path(session.layout.root), oldest_python) as serve:
        answer = serve.ask({"op": "clean", "budget_bytes": None, "budget_age_s": 14 * DAY, "environments": {}})
        assert answer["removed"]["runs"] == 1
        assert answer["removed"]["blobs"] == 2
        assert not answer["busy"]
        assert serve.ask({"op": "offer", "snapshot": thing.id}, offer_frames(thing))["missing"]


def test_an_offer_that_comes_between_the_look_and_the_removal_keeps_its_blobs(session: Session) -> None:
    old = old_snapshot(session, "s", 15 * DAY)
    inventory = clean_store.Inventory(session.layout)
    inventory.take(())
    (facts,) = inventory.snapshots
    assert clean_store.drop_manifest(session.layout, session.layout.snapshot(old.id), facts.last_used)
    inventory.forget(facts)
    loose = inventory.loose(before=time.time())
    assert len(loose) == 2
    assert session.offer(old) == []
    assert clean_store.remove_blobs(session.layout, inventory, loose) == (0, 0)


def in_processes(*jobs: Callable[[], None]) -> None:
    """Run the jobs at once, each in a process of its own; all must end well."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=job) for job in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(jobs)


@pytest.mark.slow
def test_a_cleaner_that_keeps_nothing_harms_no_sender_and_no_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even with nothing protected by its age: what was offered completes, and what is complete can be copied."""
    monkeypatch.setattr(store, "KEEP_S", -1.0)
    layout = Layout(str(tmp_path / "root"))
    layout.make_root()
    contents = [random.Random(n).randbytes(2000) for n in range(60)]
    deadline = time.monotonic() + 4
    counts = multiprocessing.get_context("fork").Array("i", 3)

    def send(seed: int) -> None:
        generator = random.Random(seed)
        session = Session(layout)
        rounds = 0
        while time.monotonic() < deadline:
            rounds += 1
            thing = parcel({f"f{n}": content for n, content in enumerate(generator.sample(contents, 20))})
            missing = session.offer(thing)
            if missing and not session.send(thing, missing)["complete"]:
                raise AssertionError("a blob of an offered snapshot went")
            code = tmp_path / f"{seed}-{rounds}"
            try:
                checkout(layout, thing.id, str(code))
            except CheckoutError as error:
                if error.blob is not None:  # that the snapshot went as a whole is allowed here
                    raise
                counts[0] += 1
            else:
                counts[1] += 1
                assert encode(entries_on_disk(code)) == thing.manifest

    def clean() -> None:
        while time.monotonic() < deadline:
            removed = cleaning.keep_budget(layout, 0, 0)
            if removed is not None:
                counts[2] += removed["blobs"]

    in_processes(lambda: send(1), lambda: send(2), clean, clean)
    assert counts[1] > 10
    assert counts[2] > 100


@pytest.mark.slow
def test_a_snapshot_is_whole_whenever_somebody_may_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "KEEP_S", -1.0)
    layout = Layout(str(tmp_path / "root"))
    layout.make_root()
    things = [parcel({f"f{n}": b"%d-%d" % (s, n) for n in range(10)}) for s in range(5)]
    deadline = time.monotonic() + 3

    def send() -> None:
        session = Session(layout)
        while time.monotonic() < deadline:
            for thing in things:
                missing = session.offer(thing)
                assert not missing or session.send(thing, missing)["complete"]

    def look() -> None:
        while time.monotonic() < deadline:
            with store.shared(layout):
                for thing in things:
                    if os.path.exists(layout.snapshot(thing.id)):
                        assert all(os.path.exists(layout.blob(blob)) for blob in thing.blobs)

    def clean() -> None:
        while time.monotonic() < deadline:
            cleaning.keep_budget(layout, 0, 0)

    in_processes(send, look, clean)


def test_nobody_waits_long_for_a_cleaner(session: Session) -> None:
    """The cleaner lets go of the store after each batch."""
    old_snapshot(session, "s", 15 * DAY)
    held: list[bool] = []
    unlink = os.unlink

    def watch(path: Any, **more: Any) -> None:
        if b"blobs" in os.fsencode(path):
            descriptor = os.open(session.layout.store_lock, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                held.append(False)
            except BlockingIOError:
                held.append(True)
            os.close(descriptor)
        unlink(path, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clean_store, "BATCH", 1)
        patch.setattr(os, "unlink", watch)
        keep_budget(session, 0, 0)
    assert held == [True, True]
    with store.shared(session.layout):
        pass


def test_a_manifest_that_is_renamed_while_the_cleaner_looks_keeps_its_blobs(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = old_snapshot(session, "s", 2 * HOUR)
    whole = clean_store.hashes
    calls = []

    def gone_at_first(path: str) -> set[bytes]:
        calls.append(path)
        if len(calls) == 1:
            raise FileNotFoundError(path)
        return whole(path)

    monkeypatch.setattr(clean_store, "hashes", gone_at_first)
    assert keep_budget(session)["blobs"] == 0
    assert len(calls) == 2
    assert session.offer(thing) == []


CLOSED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from s.housekeeping.removal import clear, remove
if os.geteuid() == 0:  # to root nothing is closed
    os.setgid(65534)
    os.setuid(65534)
root = sys.argv[2]
for name in ("whole", "cleared"):
    top = os.path.join(root, name)
    os.makedirs(top + "/a/b/c")
    os.mkdir(top + "/keep")
    for path in ("a/file", "a/b/file", "a/b/c/file", "keep/file"):
        os.close(os.open(os.path.join(top, path), os.O_CREAT, 0))
    for path in ("a/b/c", "a/b", "a", "keep", "."):
        os.chmod(os.path.join(top, path), 0)
trash = os.path.join(root, "trash")
assert remove(root + "/whole", trash) == []
assert clear(root + "/cleared", [b"keep"], trash) == []
print(sorted(os.listdir(root)), os.listdir(trash), os.listdir(root + "/cleared"))
os.chmod(root + "/cleared/keep", 0o700)
"""


def test_folders_that_a_script_closed_go_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "s").symlink_to(Path(cleaning.__file__).parent.parent)
    with tempfile.TemporaryDirectory() as folder:  # where every user can go, unlike tmp_path
        os.chmod(folder, 0o777)
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-c", CLOSED, str(tmp_path), folder],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout == "['cleared', 'trash'] [] ['keep']\n", done.stderr
