from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider.scriptrun.config import ContainerRegistry, Environment, ScriptRunConfig
from airflow_provider.scriptrun.errors import (
    ConfigurationError,
    NotSupportedError,
    OtherHostError,
    RunCanceledError,
    RunSupersededError,
    SnapshotError,
    TargetRefusedError,
    TargetUnreachableError,
    UnknownRunError,
    WorkspaceError,
)
from airflow_provider.scriptrun.runs import lease, reach, start
from airflow_provider.scriptrun.runs.lineage import CURSOR, DELIVERED, LINEAGE, Attempt
from airflow_provider.scriptrun.runs.run import Run
from airflow_provider.scriptrun.runs.submission import submit
from airflow_provider.scriptrun.runs.workspace import Workspace
from airflow_provider.scriptrun.supervisor.protocol.manifest import snapshot_id
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets import registry
from airflow_provider.scriptrun.targets.contract import Outcome, RunStatus, Sent, Started
from tests.runs.fakes import Ears, FakeSurroundings, FakeTarget


class State(dict):
    """A lineage store in memory, as a task's would be."""

    def set(self, name, value):
        self[name] = json.loads(json.dumps(value))


class World:
    """One fake target per connection, a source directory, and a way to submit."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.surroundings = FakeSurroundings(folder)
        self.workspace = Workspace.from_config(self.surroundings)
        self.targets = {"fake": FakeTarget("fake"), "other": FakeTarget("other", host_id="machine-2")}
        self.opened: list[tuple] = []
        self.ears = Ears()
        self.state = State()
        (folder / "source").mkdir()
        (folder / "source" / "train.py").write_text("print('hello')\n")
        monkeypatch.setattr(registry, "open_target", self._open)
        monkeypatch.setattr(registry, "open_handle", lambda handle, _s: self._open(handle.connection, _s))
        monkeypatch.setattr(reach, "FIRST_PAUSE_SECONDS", 0.01)
        monkeypatch.setattr(reach, "LONGEST_PAUSE_SECONDS", 0.02)

    @property
    def target(self) -> FakeTarget:
        return self.targets["fake"]

    def _open(self, name, _surroundings, host_id=None, in_container=False):
        del in_container  # its targets are what they are
        self.opened.append((name, host_id))
        target = self.targets[name]
        target.closed = False
        if host_id and host_id != target._host_id:
            target.trouble.append(OtherHostError("another host", why="its id is another"))
        return target

    def gives_up_after(self, seconds):
        self.surroundings.settings = replace(self.surroundings.settings, unreachable_after_seconds=seconds)

    def is_over_in(self, seconds):
        """Let the stored run have ended itself surely in so many seconds."""
        stored = self.state[LINEAGE]
        takes = lease.over_at(0.0, orphan_after_s=stored["orphan_after_s"], grace_s=stored["grace_s"])
        self.over_at = time.time() + seconds
        stored["watched_at"] = self.over_at - takes

    def submit(self, *, run_id=None, attempt=None, tags=None, should_stop=None, seed=None, refresh=False, **fields):
        fields = {"source_directory": "source", "script": "train.py", "compute_target": "fake", **fields}
        return submit(
            ScriptRunConfig(**fields), workspace=self.workspace, experiment="churn", reporter=self.ears,
            lineage=None if run_id else self.state, surroundings=self.surroundings, run_id=run_id, attempt=attempt,
            tags=tags, should_stop=should_stop, airflow={"dag_id": "d"}, seed=seed, refresh_environment=refresh,
        )  # fmt: skip

    def calls(self, *verbs) -> list[str]:
        return [call[0] for call in self.target.calls if not verbs or call[0] in verbs]


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path, monkeypatch)


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


def test_an_unreachable_target_is_tried_again_later_and_never_elsewhere(world):
    world.target.trouble = [TargetUnreachableError(f"trouble {n}") for n in range(6)]
    world.submit()
    assert len(world.ears.warnings) == 5, "the first was the look ahead"
    assert world.opened == [("fake", None)]


def test_a_submission_that_is_told_to_stop_gives_up_waiting(world):
    stop = threading.Event()
    world.target.trouble = [TargetUnreachableError("no route")] * 1000
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(TargetUnreachableError):
        world.submit(should_stop=stop.is_set)
    assert LINEAGE not in world.state


def test_another_host_under_the_same_name_is_not_here(world):
    world.submit()
    world.target._host_id = "machine-9"
    with pytest.raises(OtherHostError, match=r"may still be alive there.*will have ended itself"):
        world.submit()
    assert world.calls("start") == ["start"]


def test_another_host_may_take_over_once_the_run_has_surely_ended_itself(world, monkeypatch):
    world.submit()
    world.target._host_id = "machine-9"
    lineage = world.state[LINEAGE]
    over = lease.over_at(0.0, orphan_after_s=lineage["orphan_after_s"], grace_s=lineage["grace_s"])
    lineage["watched_at"] = time.time() - over + 30
    with pytest.raises(OtherHostError):
        world.submit()
    lineage["watched_at"] -= 60
    world.state[CURSOR] = {"run": lineage["run_id"], "at": time.time(), "seen": 1, "offsets": {}}
    with pytest.raises(OtherHostError):
        world.submit()
    del world.state[CURSOR]
    assert world.submit().id in world.target.runs


def test_a_run_on_a_target_that_is_not_configured_any_more_is_seen_dead_first(world):
    first = world.submit()
    second = world.submit(compute_target="other")
    assert world.target.runs[first.id].status.status is Status.CANCELED
    assert ("cancel", first.id, Reason.SUPERSEDED) in world.target.calls
    assert second.id in world.targets["other"].runs
    assert world.state[LINEAGE]["connection"] == "other"
    assert second.submission["handle"]["lineage"] != first.submission["handle"]["lineage"]


def test_nothing_starts_elsewhere_before_the_old_target_was_asked(world):
    first = world.submit()
    world.target.trouble = [TargetUnreachableError("no route")] * 3
    second = world.submit(compute_target="other")
    assert sum("no route" in text for text in world.ears.warnings) == 3
    assert world.target.runs[first.id].status.status is Status.CANCELED
    assert second.id in world.targets["other"].runs


def test_nothing_starts_elsewhere_while_the_old_target_cannot_be_asked_and_its_run_may_live(world):
    world.gives_up_after(0.1)
    world.surroundings.settings = replace(world.surroundings.settings, orphan_after_seconds=0)
    first = world.submit()
    world.target.trouble = [TargetUnreachableError("no route")] * 10_000
    with pytest.raises(TargetUnreachableError, match=f"no route.*{first.id}.*nothing starts elsewhere"):
        world.submit(compute_target="other")
    assert world.targets["other"].runs == {}


def test_a_run_starts_elsewhere_once_its_predecessor_that_cannot_be_asked_has_surely_ended_itself(world):
    world.gives_up_after(0.01)
    world.submit()
    world.is_over_in(0.3)
    world.target.trouble = [TargetUnreachableError("no route")] * 10_000
    second = world.submit(compute_target="other")
    assert time.time() >= world.over_at
    assert second.id in world.targets["other"].runs


def test_a_target_on_which_nothing_can_be_yet_is_waited_for_as_long_as_the_settings_say(world):
    world.gives_up_after(0.2)
    world.target.trouble = [TargetUnreachableError("no route")] * 10_000
    with pytest.raises(TargetUnreachableError, match=r"no route.*Nothing was started.*unreachable_after_seconds"):
        world.submit()
    assert LINEAGE not in world.state


def test_a_target_that_may_have_a_run_is_waited_for_until_that_has_surely_ended_itself(world):
    world.gives_up_after(0.01)
    first = world.submit()
    world.is_over_in(0.3)
    world.target.trouble = [TargetUnreachableError("no route")] * 10_000
    with pytest.raises(TargetUnreachableError, match=first.id):
        world.submit(attempt=Attempt(try_number=2))
    assert time.time() >= world.over_at
    assert world.calls("start") == ["start"]


def test_a_start_that_may_have_been_heard_is_repeated_until_its_run_has_surely_ended_itself(world, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_MARGIN_SECONDS", -30.0)  # the grace of a script
    world.gives_up_after(0.01)
    world.surroundings.settings = replace(
        world.surroundings.settings, orphan_after_seconds=0.3, cancel_grace_seconds=30.0
    )

    def start(request):
        world.target.calls.append(("start", request.run_id))
        raise TargetUnreachableError("the connection broke")

    monkeypatch.setattr(world.target, "start", start)
    begun = time.monotonic()
    with pytest.raises(TargetUnreachableError, match=r"broke.*the run has ended itself by now"):
        world.submit()
    assert time.monotonic() - begun >= 0.3
    assert len(world.calls("start")) > 2


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


def test_what_is_asked_is_what_was_configured(world):
    world.surroundings.connections = {}
    world.submit(
        arguments=["--lr", 0.1, "two words", "$HOME"],
        environment=Environment(name="e", environment_variables={"A": "1", "B": "1"}),
        environment_variables={"B": "2"},
        secret_variables={"TOKEN": "conn:hf/password"},
        max_run_duration_seconds=5,
        tags={"a": "1", "b": "1"},
    )
    request = world.target.request
    assert request.argv == ("python", "train.py", "--lr", "0.1", "two words", "$HOME")
    assert request.variables == {"A": "1", "B": "2"}
    assert request.secret_variables == {"TOKEN": "s3cret"}
    assert (request.limits.max_run_duration_s, request.limits.grace_s, request.limits.orphan_after_s) == (5, 2, 86400)
    assert request.context["tags"] == {"a": "1", "b": "1"}
    assert request.context["airflow"] == {"dag_id": "d"}


def test_a_command_is_items_or_the_text_of_a_shell(world):
    world.submit(script=None, command=["echo", "a b"])
    assert world.target.request.argv == ("echo", "a b")
    world.submit(script=None, command="echo $A | wc")
    assert world.target.request.argv == ("/bin/sh", "-c", "echo $A | wc")


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


def test_a_refresh_is_asked_for_in_the_plan(world):
    environment = Environment.from_pip_requirements("e", "requirements.txt")
    (world.folder / "requirements.txt").write_text("iniconfig\n")
    world.submit(environment=environment)
    assert world.target.request.environment["delivery"]["refresh"] is False
    world.submit(environment=environment, refresh=True)
    assert world.target.request.environment["delivery"]["refresh"] is True


def test_two_that_find_no_lineage_choose_the_same_one_and_each_target_has_its_own(world):
    first = world.submit(seed="this task of this DAG run")
    world.state.clear()
    second = world.submit(seed="this task of this DAG run")
    elsewhere = world.submit(seed="this task of this DAG run", compute_target="other")
    again = world.submit(seed="this task of this DAG run")
    lineages = [run.submission["handle"]["lineage"] for run in (first, second, elsewhere, again)]
    assert lineages[0] == lineages[1]
    assert len(set(lineages)) == 3
    world.state.clear()
    assert world.submit(seed="another").submission["handle"]["lineage"] not in lineages


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


def test_a_run_of_the_callers_id_that_may_be_watched_is_asked_about_however_old_it_is(world, monkeypatch):
    world.submit(run_id="mine")
    monkeypatch.setattr(lease, "LEASE_MARGIN_SECONDS", -1e9)
    world.submit(run_id="mine", compute_target="other")
    assert ("cancel", "mine", Reason.SUPERSEDED) in world.target.calls


def test_what_a_configuration_asks_of_its_container_is_in_the_request_and_a_plain_one_asks_nothing(world):
    world.target.target_type = "docker"
    world.submit(docker_runtime_config={"use_docker": True, "arguments": ["--memory", "1g"]})
    assert world.target.request.container == {"use": True, "memory": 1024**3}
    world.submit(docker_runtime_config={"shared_volumes": False}, run_id="r2")
    assert world.target.request.container == {}


def test_a_target_without_containers_is_not_asked_for_one(world):
    with pytest.raises(NotSupportedError, match="name an Airflow connection of type scriptrun_docker"):
        world.submit(docker_runtime_config={"use_docker": True})
    assert world.calls("start") == []


def test_a_targets_own_package_index_stands_in_for_the_settings(world):
    world.surroundings.settings = replace(world.surroundings.settings, index_url="https://everywhere/simple")
    environment = Environment(python={"conda_dependencies": {"pip_packages": ["six"]}})
    world.submit(environment=environment)
    assert world.target.request.environment["index"]["url"] == "https://everywhere/simple"
    world.target.index_url = "https://there/simple"
    world.submit(environment=environment, run_id="r2")
    assert world.target.request.environment["index"]["url"] == "https://there/simple"


def test_a_targets_own_authority_stands_in_for_the_settings(world):
    places = {}
    for where in ("everywhere", "there"):
        places[where] = world.folder / f"{where}.pem"
        places[where].write_text(f"-----BEGIN CERTIFICATE-----\n{where}\n")
    world.surroundings.settings = replace(world.surroundings.settings, ca_file=str(places["everywhere"]))
    environment = Environment(python={"conda_dependencies": {"pip_packages": ["six"]}})
    world.submit(environment=environment)
    assert world.target.request.environment["delivery"]["ca"] == places["everywhere"].read_text()
    world.target.ca_file = str(places["there"])
    world.submit(environment=environment, run_id="r2")
    assert world.target.request.environment["delivery"]["ca"] == places["there"].read_text()


def test_a_registrys_password_is_looked_up_and_travels_among_the_secrets(world):
    world.target.target_type = "docker"
    registry = ContainerRegistry(address="r.example.com", username="robot", password="conn:registry/password")
    run = world.submit(environment=Environment.from_docker_image("e", "base", registry))
    secret = world.target.request.environment["image"]["registry"]["secret"]
    assert world.target.request.secret_environment == {secret: "s3cret"}
    assert "s3cret" in world.surroundings.masked
    assert "s3cret" not in json.dumps(run.submission)
