from __future__ import annotations

import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from airflow_provider.scriptrun.config import ScriptRunConfig
from airflow_provider.scriptrun.errors import (
    ConfigurationError,
    NotSupportedError,
    RunCanceledError,
    RunSupersededError,
    SnapshotError,
    TargetRefusedError,
    TargetUnreachableError,
    UnknownRunError,
    WorkspaceError,
)
from airflow_provider.scriptrun.runs import start
from airflow_provider.scriptrun.runs.lineage import DELIVERED, LINEAGE, Attempt
from airflow_provider.scriptrun.runs.run import Run
from airflow_provider.scriptrun.runs.submission import submit
from airflow_provider.scriptrun.runs.workspace import Workspace
from airflow_provider.scriptrun.supervisor.protocol.manifest import snapshot_id
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets.contract import Outcome, RunStatus, Sent, Started


def test_an_unchanged_tree_is_one_request_with_ids_only(world):
    world.submit()
    assert world.calls() == ["check", "start"]


def test_what_is_missing_is_sent_and_the_run_asked_for_again(world):
    world.target.has_snapshot = False
    run = world.submit()
    assert world.calls() == ["check", "start", "send", "start"]
    assert run.submission["snapshot"]["sent_files"] == 1
    assert set(run.submission["phases"]) == {"snapshot", "keep", "send"}


def test_a_start_may_follow_what_is_sent_in_the_same_flight(world):
    world.target.has_snapshot, world.target.starts_behind = False, True
    run = world.submit()
    assert world.calls() == ["check", "start", "send", "start"]
    assert world.target.calls[-1] == ("start", run.id)
    assert run.submission["snapshot"]["sent_files"] == 1
    assert set(run.submission["phases"]) == {"snapshot", "keep", "send"}


def test_a_start_whose_answer_was_lost_behind_what_was_sent_is_asked_for_again(world):
    world.target.has_snapshot, world.target.starts_behind = False, True
    world.target.lost_answers = [TargetUnreachableError("the connection broke")] * 2
    run = world.submit()
    assert world.calls("send", "start") == ["start", *["send", "start"] * 3]
    assert {call[1] for call in world.target.calls if call[0] == "start"} == {run.id}
    assert run.submission["snapshot"]["sent_files"] == 1  # the later tries found it there


def test_a_start_that_may_have_been_heard_behind_what_was_sent_is_repeated_like_one_alone(world):
    world.gives_up_after(0.05)
    world.target.has_snapshot, world.target.starts_behind = False, True
    world.target.lost_answers = [
        TargetUnreachableError("the connection broke")
    ] * 20  # longer than nothing is waited for
    assert world.submit().id == world.target.calls[-1][1]


def test_a_snapshot_is_sent_as_a_change_of_an_earlier_one_that_the_target_has(world):
    world.submit()
    assert world.target.request.bases == ()
    first = world.target.request.snapshot_id
    for number in range(2):
        (world.folder / "source" / "train.py").write_text(f"print({number})")
        world.target.has_snapshot, world.target.has = False, {first}
        world.submit()
        assert first in world.target.request.bases
        assert world.target.base is not None
        assert snapshot_id(world.target.base) == first
    assert world.target.request.bases[1:] == (first,)


def test_a_base_that_is_not_kept_any_more_is_done_without(world):
    world.submit()
    first = world.target.request.snapshot_id
    (world.folder / "source" / "train.py").write_text("print()")
    world.target.has_snapshot, world.target.has = False, {first}
    for path in (world.folder / "cache" / "bases").glob("*/*"):
        path.write_bytes(b"damaged")
    world.submit()
    assert world.target.base is None


def test_the_lineage_is_stored_before_the_run_is_asked_for(world, monkeypatch):
    seen = []
    monkeypatch.setattr(world.target, "start", lambda request: seen.append(dict(world.state)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.submit()
    (state,) = seen
    assert re.fullmatch(r"churn_\d{10}_[0-9a-f]{8}", state[LINEAGE]["run_id"])
    assert (state[LINEAGE]["connection"], state[LINEAGE]["host_id"]) == ("fake", "machine-1")
    assert Run.get(world.workspace, state[LINEAGE]["run_id"]).submission["command"] == ["python", "train.py"]


def test_the_next_try_asks_under_the_same_lineage_and_joins_what_there_is(world):
    first = world.submit(attempt=Attempt(try_number=1))
    joined = Started(Outcome.ACCEPTED, first.id, RunStatus(1, Status.RUNNING), joined=True)
    world.target.answers = [joined]
    second = world.submit(attempt=Attempt(try_number=2, max_tries=3))
    assert second.id == first.id
    assert second.submission == first.submission
    assert world.target.request.lineage == first.submission["handle"]["lineage"]
    assert world.target.request.attempt == Attempt(2, 3, 0, delivered=False)
    assert world.state[LINEAGE]["run_id"] == first.id
    assert world.workspace.run_ids("churn") == [first.id]
    assert any("Joined" in note for note in world.ears.notes)


def test_a_try_after_the_delivery_says_so(world):
    run = world.submit()
    run.mark_delivered()
    assert world.state[DELIVERED] == run.id
    world.submit(attempt=Attempt(try_number=2))
    assert world.target.request.attempt.delivered
    world.submit(attempt=Attempt(try_number=3))
    assert not world.target.request.attempt.delivered, "that was another run"


def test_a_joined_run_that_the_workspace_does_not_know_is_described(world):
    world.target.run("churn_1_00000000")
    status = RunStatus(1, Status.RUNNING)
    world.target.answers = [Started(Outcome.ACCEPTED, "churn_1_00000000", status, joined=True)]
    run = world.submit()
    assert run.id == "churn_1_00000000"
    assert Run.get(world.workspace, run.id).submission["handle"]["run_id"] == run.id


def test_a_newer_try_is_left_alone(world):
    world.target.answers = [Started(Outcome.SUPERSEDED, "churn_9_9", try_number=5)]
    with pytest.raises(RunSupersededError, match=r"try \(5\).*churn_9_9"):
        world.submit()
    assert world.workspace.run_ids("churn") == []


def test_a_run_that_was_cancelled_before_its_start_says_so(world):
    world.target.answers = [Started(Outcome.CANCELED, "x")]
    with pytest.raises(RunCanceledError, match="before it started"):
        world.submit()


def test_a_target_that_never_has_enough_is_an_error(world, monkeypatch):
    world.target.has_snapshot = False
    monkeypatch.setattr(world.target, "send", lambda *_arguments, **_named: Sent())
    with pytest.raises(TargetRefusedError, match="again after it was sent"):
        world.submit()


def test_a_submission_that_is_told_to_stop_gives_up_waiting(world):
    stop = threading.Event()
    world.target.trouble = [TargetUnreachableError("no route")] * 1000
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(TargetUnreachableError):
        world.submit(should_stop=stop.is_set)
    assert LINEAGE not in world.state


def test_a_target_that_refuses_a_login_is_not_tried_again(world):
    world.target.trouble = [TargetUnreachableError("no route"), TargetRefusedError("the password is wrong")]
    with pytest.raises(TargetRefusedError, match="password"):
        world.submit()
    assert world.target.trouble == []
    assert world.ears.warnings == []


def test_what_an_earlier_run_left_is_collected(world):
    first = world.submit()
    world.target.runs[first.id].files = {"outputs/a": b"1", "run.log": b"x\n"}
    world.target.end(Status.FAILED, first.id, reason=Reason.SCRIPT, exit_code=1)
    status = RunStatus(1, Status.STARTING)
    fresh = Started(Outcome.ACCEPTED, "new", status, previous=(first.id, "unknown"))
    world.target.run("new")
    world.target.answers = [fresh]
    world.submit(attempt=Attempt(try_number=2))
    record = Run.get(world.workspace, first.id).record
    assert (record["status"], record["outputs"]["count"]) == ("Failed", 1)


def test_trouble_with_an_earlier_run_does_not_stop_the_new_one(world, monkeypatch):
    first = world.submit()
    world.target.runs[first.id].files = {"../evil": b"1"}
    world.target.end(Status.FAILED, first.id)
    world.target.run("new")
    world.target.answers = [Started(Outcome.ACCEPTED, "new", RunStatus(1, Status.STARTING), previous=(first.id,))]
    assert world.submit().id == "new"
    assert any("could not be collected" in text for text in world.ears.warnings)


def test_the_same_run_id_twice_is_the_same_run(world):
    first = world.submit(run_id="mine")
    second = world.submit(run_id="mine")
    assert (first.id, second.id) == ("mine", "mine")
    assert second.submission == first.submission
    assert [call for call in world.target.calls if call[0] == "start"] == [("start", "mine")] * 2
    world.target.end(run_id="mine")
    first.watch()
    first.collect()
    third = world.submit(run_id="mine")
    assert world.calls("start") == ["start", "start"], "what is recorded is not asked for again"
    assert third.get_status() == "Completed"


def test_two_at_once_with_one_run_id_ask_under_one_lineage(world):
    lineages = []
    start = world.target.start
    barrier = threading.Barrier(2)

    def both(request):
        lineages.append(request.lineage)
        barrier.wait(20)
        return start(request)

    world.target.start = both
    threads = [threading.Thread(target=world.submit, kwargs={"run_id": "mine"}) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lineages) == 2
    assert len(set(lineages)) == 1


def test_many_at_once_get_runs_of_their_own(world):
    ids = []
    threads = [threading.Thread(target=lambda: ids.append(_fresh(world).id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 8
    assert len(world.workspace.objects.names("snapshots")) == 1


def _fresh(world) -> Run:
    return submit(
        ScriptRunConfig("source", "train.py", compute_target="fake"), workspace=world.workspace, experiment="churn",
        surroundings=world.surroundings,
    )  # fmt: skip


def test_git_facts_and_the_patch_are_kept(world):
    source = world.folder / "source"
    git = ["git", "-C", str(source), "-c", "user.name=n", "-c", "user.email=e@x", "-c", "init.defaultBranch=main"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    (source / "train.py").write_text("print('changed')\n")
    run = world.submit()
    world.target.end(run_id=run.id)
    run.watch()
    facts = run.collect()["git"]
    assert (facts["branch"], facts["dirty"], len(facts["commit"])) == ("main", True, 40)
    assert b"changed" in Path(facts["patch_uri"]).read_bytes()


def test_a_run_that_never_had_a_folder_can_be_collected(world, monkeypatch):
    run = world.submit()
    world.target.end(Status.CANCELED, run.id, reason=Reason.CANCELED)
    monkeypatch.setattr(world.target, "files", lambda run_id: (_ for _ in ()).throw(UnknownRunError("no folder")))
    record = run.collect()
    assert (record["status"], record["outputs"]["count"]) == ("Canceled", 0)


def test_no_secret_is_kept_anywhere(world):
    run = world.submit(secret_variables={"TOKEN": "conn:hf/password"})
    world.target.end(run_id=run.id)
    run.watch()
    run.collect()
    for name in world.workspace.objects.walk(""):
        content = world.workspace.objects.get(name)
        assert b"s3cret" not in content, name
        assert b"conn:hf" not in content, name
    assert "s3cret" in world.surroundings.masked


def test_a_folder_for_a_workspace_warns_where_workers_have_hosts_of_their_own(world):
    world.submit()
    assert world.ears.warnings == []
    world.surroundings.hosts_may_differ = True
    world.submit()
    assert "[scriptrun] workspace" in world.ears.warnings[0]


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"source_directory": "nowhere"}, SnapshotError, "nowhere"),
        ({"script": "missing.py"}, ConfigurationError, r"config\.script.*missing\.py"),
        ({"script": "ignored.py"}, ConfigurationError, "ignore rule"),
        ({"script": "{{ params.x }}"}, ConfigurationError, "template"),
        ({"inputs": {"a": "s3://b/c"}}, NotSupportedError, "inputs"),
        ({"run_config": {"framework": "PySpark"}}, NotSupportedError, "PySpark"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_asked(world, fields, error, text):
    (world.folder / "source" / ".gitignore").write_text("ignored.py\n")
    (world.folder / "source" / "ignored.py").write_text("")
    with pytest.raises(error, match=text):
        world.submit(**fields)
    assert world.calls("start") == []
    assert LINEAGE not in world.state


@pytest.mark.parametrize("name", ["", "-a", "a b", "ä", "a" * 256, "a/b", "../a", None])
def test_a_name_that_is_none_is_refused(world, name):
    config = ScriptRunConfig("source", "train.py")
    with pytest.raises(ConfigurationError, match="name of an experiment"):
        submit(config, workspace=world.workspace, experiment=name, surroundings=world.surroundings)
    if name != "a" * 256 or name is None:
        return
    with pytest.raises(ConfigurationError, match="run id"):
        submit(config, workspace=world.workspace, experiment="e", run_id=name, surroundings=world.surroundings)


def test_the_longest_experiment_has_runs_with_short_ids(world):
    run = submit(
        ScriptRunConfig("source", "train.py", compute_target="fake"), workspace=world.workspace,
        experiment="e" * 255, surroundings=world.surroundings,
    )  # fmt: skip
    assert len(run.id) < 128
    assert Run.get(world.workspace, run.id).experiment == "e" * 255


def test_a_workspace_whose_url_holds_a_password_is_refused_without_saying_it():
    with pytest.raises(WorkspaceError, match=r"sftp://host/runs holds a password") as caught:
        Workspace("sftp://somebody:hunter2@host/runs")
    assert "hunter2" not in str(caught.value)


def test_a_workspace_that_cannot_be_written_stops_before_anything_is_asked(world):
    (world.folder / "workspace").write_text("a file")
    with pytest.raises(WorkspaceError, match=r"workspace.*cannot be"):
        world.submit()
    assert world.calls("start") == []


def test_the_target_is_told_once_what_a_run_left_is_stored(world):
    run = world.submit()
    world.target.end(run_id=run.id)
    run.watch()
    world.target.collected = lambda run_id: told.append((run_id, run.record["status"]))
    told = []
    run.collect()
    assert told == [(run.id, "Completed")]


def test_a_target_that_does_not_hear_that_a_run_was_collected_is_no_trouble(world, monkeypatch):
    run = world.submit()
    world.target.end(run_id=run.id)
    run.watch()

    def unreachable(run_id):
        raise TargetUnreachableError("no route")

    monkeypatch.setattr(world.target, "collected", unreachable)
    assert run.collect()["status"] == "Completed"
    assert world.ears.warnings == []


def test_outputs_that_cannot_be_brought_are_told_and_counted(world):
    run = world.submit()
    world.target.end(run_id=run.id)
    world.target.skipped = {"outputs/link": "it leads outside", "outputs/pipe": "it is a FIFO"}
    run.watch()
    assert run.collect(reporter=world.ears)["left_out"] == {"not_brought": 2}
    (warning,) = world.ears.warnings
    assert "2 that cannot be brought: 'outputs/link' (it leads outside), 'outputs/pipe' (it is a FIFO)" in warning


def test_a_start_long_after_the_lineage_was_stored_is_stored_anew(world, monkeypatch):
    world.target.has_snapshot = False
    send = world.target.send

    def slow(snapshot, **options):
        monkeypatch.setattr(start, "WATCHED_SECONDS", -1.0)
        world.state[LINEAGE]["watched_at"] = 0.0
        return send(snapshot, **options)

    monkeypatch.setattr(world.target, "send", slow)
    world.submit()
    assert time.time() - world.state[LINEAGE]["watched_at"] < 60
