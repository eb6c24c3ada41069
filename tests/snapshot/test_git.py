"""What Git knows of a source directory: asked of real repositories, which stay as they were."""

from __future__ import annotations

import os
import select
import threading
import time
from pathlib import Path

import pytest

from airflow_provider.scriptrun.snapshot import Bundle, GitFacts, git_facts, git_process
from tests.snapshot.repositories import change_everything, everything, git
from tests.snapshot.trees import write

pytestmark = pytest.mark.usefixtures("own_git_configuration")


def test_a_clean_repository_is_told_whole(repository):
    assert git_facts(repository / "code") == GitFacts(
        commit=git(repository, "rev-parse", "HEAD"),
        branch="main",
        repository="https://example.org/team/code.git",
        dirty=False,
        source="git",
    )


def test_the_users_repository_is_left_as_it_was(repository):
    change_everything(repository)
    before = everything(repository)
    facts = git_facts(repository / "code")
    assert facts.patch
    assert everything(repository) == before


def test_what_is_staged_stays_staged(repository):
    change_everything(repository)
    before = git(repository, "status", "--porcelain")
    git_facts(repository / "code")
    assert git(repository, "status", "--porcelain") == before
    assert "A  code/staged.py" in before


def test_edits_beside_the_source_directory_do_not_make_it_dirty(repository):
    write(repository / "beside/notes", "other\n")
    write(repository / "beside/untracked", "other\n")
    facts = git_facts(repository / "code")
    assert (facts.dirty, facts.patch) == (False, None)
    both = git_facts(repository)
    assert both.dirty is True
    assert b"beside/untracked" in (both.patch or b"")


@pytest.mark.parametrize(
    "change",
    [
        lambda code: write(code / "untracked"),
        lambda code: (code / "old.py").unlink(),
        lambda code: (code / "old.py").chmod(0o755),
        lambda code: (code / "old.py").rename(code / "newer.py"),
    ],
    ids=["an untracked file", "a deleted file", "an executable bit", "a renamed file"],
)
def test_dirty_is(change, repository):
    change(repository / "code")
    facts = git_facts(repository / "code")
    assert facts.dirty is True
    assert facts.patch


def test_an_ignored_file_is_not_dirty(repository):
    write(repository / "code/model.ignored")
    assert git_facts(repository / "code").dirty is False


def test_outputs_of_an_earlier_run_are_not_dirty(repository):
    write(repository / "code/outputs/model.pkl")
    write(repository / "code/logs/log")
    assert git_facts(repository / "code").dirty is False


def test_a_detached_head_has_no_branch(repository):
    git(repository, "checkout", "--quiet", "--detach")
    facts = git_facts(repository)
    assert facts.branch is None
    assert facts.commit == git(repository, "rev-parse", "HEAD")


def test_a_repository_without_a_commit_says_so(tmp_path):
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    write(tmp_path / "train.py")
    facts = git_facts(tmp_path)
    assert (facts.commit, facts.branch, facts.dirty, facts.patch) == (None, "main", True, None)
    assert "no commit" in (facts.reason or "")


def test_no_repository_says_so(tmp_path):
    assert git_facts(tmp_path) == GitFacts(reason="the source directory is in no Git repository")


def test_the_bundle_stands_in_where_there_is_no_git(tmp_path):
    facts = git_facts(tmp_path, bundle=Bundle("dags", "3f2c"))
    assert (facts.repository, facts.commit, facts.dirty, facts.source) == ("dags", "3f2c", None, "bundle")
    assert facts.reason == "the source directory is in no Git repository"


def test_a_bundle_that_says_its_remote_is_told_by_that_without_credentials(tmp_path):
    bundle = Bundle("dags", "3f2c", "https://user:SECRET@example.org/team/dags.git", tmp_path)
    assert git_facts(tmp_path, bundle=bundle).repository == "https://example.org/team/dags.git"
    assert "SECRET" not in repr(bundle)


def test_a_bundle_stands_in_for_what_came_with_it_alone(tmp_path):
    for folder in ("bundle/code", "beside"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link").symlink_to("bundle")
    bundle = Bundle("dags", "3f2c", "https://example.org/team/dags.git", tmp_path / "link")
    assert git_facts(tmp_path / "bundle/code", bundle=bundle).commit == "3f2c"
    beside = git_facts(tmp_path / "beside", bundle=bundle)
    assert (beside.commit, beside.repository, beside.source) == (None, None, None)


@pytest.mark.parametrize(
    ("remote", "told"),
    [
        ("/srv/bundles/dags/bare", "https://example.org/dags.git"),
        ("git@example.org:lib.git", "git@example.org:lib.git"),
    ],
)
def test_a_bundle_with_its_git_folder_is_no_clone_of_its_own_bare_clone(repository, remote, told):
    git(repository, "remote", "set-url", "origin", remote)
    facts = git_facts(repository, bundle=Bundle("dags", "3f2c", "https://user:SECRET@example.org/dags.git", repository))
    assert (facts.repository, facts.source) == (told, "git")


def test_git_comes_before_the_bundle(repository):
    facts = git_facts(repository, bundle=Bundle("dags", "3f2c"))
    assert (facts.source, facts.branch) == ("git", "main")


def test_a_source_directory_that_the_repository_around_it_ignores_is_not_told_as_part_of_it(repository):
    write(repository / "bundle.ignored/train.py")
    facts = git_facts(repository / "bundle.ignored", bundle=Bundle("dags", None))
    assert (facts.source, facts.commit) == ("bundle", None)
    assert "ignores it" in (facts.reason or "")


def test_a_bare_repository_says_so(repository, tmp_path):
    git(tmp_path, "clone", "--quiet", "--bare", str(repository), "bare")
    facts = git_facts(tmp_path / "bare")
    assert facts.commit is None
    assert "bare" in (facts.reason or "")


def test_a_submodule_is_told_by_its_own_commit(repository, tmp_path):
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", str(repository), str(other))
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "code/module")
    facts = git_facts(repository / "code/module")
    assert facts.commit == git(other, "rev-parse", "HEAD")
    write(repository / "code/module/train.py")
    assert b"train.py" in (git_facts(repository / "code/module").patch or b"")
    assert git_facts(repository / "code").dirty is True


def test_a_second_work_tree_is_told(repository, tmp_path):
    git(repository, "worktree", "add", "--quiet", "-b", "side", str(tmp_path / "side"))
    write(tmp_path / "side/code/train.py", "side\n")
    facts = git_facts(tmp_path / "side/code")
    assert facts.branch == "side"
    assert b"+side" in (facts.patch or b"")


def test_a_repository_inside_the_source_directory_does_no_harm(repository):
    inner = repository / "code/inner"
    inner.mkdir()
    git(inner, "init", "--quiet")
    write(inner / "file")
    facts = git_facts(repository / "code")
    assert facts.dirty is True
    assert facts.commit is not None


def test_a_repository_of_another_user_says_so(repository):
    if os.geteuid() != 0:
        pytest.skip("only root can give a repository away")
    for path in [repository, *repository.rglob("*")]:
        os.lchown(path, 65534, 65534)
    facts = git_facts(repository)
    assert facts.commit is None
    assert "safe.directory" in (facts.reason or "")


def test_no_git_says_so(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_facts(repository, bundle=Bundle("dags")).reason == "git is not installed"


def test_a_missing_source_directory_says_so(tmp_path):
    assert git_facts(tmp_path / "missing").reason == "the source directory is not there"


def fake_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    write(tmp_path / "bin/git", f"#!/bin/sh\n{script}\n").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


def test_a_git_that_hangs_is_ended_with_what_it_started(repository, tmp_path, monkeypatch):
    fake_git(tmp_path, monkeypatch, f"sleep 600 & echo $! >> {tmp_path / 'pids'}; wait")
    monkeypatch.setattr(git_process, "TIMEOUT_SECONDS", 0.3)
    started = time.monotonic()
    facts = git_facts(repository)
    assert time.monotonic() - started < 10
    assert "did not answer" in (facts.reason or "")
    for pid in (tmp_path / "pids").read_text().split():
        assert ends(int(pid))


def ends(pid: int) -> bool:
    """Wait, not for ever, until a process that was killed is gone."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 10)[0])
    finally:
        os.close(process)


def test_a_git_that_prints_nonsense_does_not_stop_a_run(repository, tmp_path, monkeypatch):
    fake_git(tmp_path, monkeypatch, r"printf '# branch.oid \377\0001 x\0'")
    facts = git_facts(repository)
    assert facts.reason is not None or facts.commit is None


def test_a_git_that_fails_gives_its_reason(repository):
    (repository / ".git/HEAD").write_text("nonsense")
    assert git_facts(repository).reason is not None
    write(repository / ".git/HEAD", "ref: refs/heads/main\n")
    write(repository / ".git/index", "nonsense")
    assert "index" in (git_facts(repository).reason or "")


def test_no_hook_monitor_or_differ_of_a_repository_is_started(repository, tmp_path):
    witness = tmp_path / "witness"
    program = write(tmp_path / "program", f'#!/bin/sh\necho "$0 $@" >> {witness}\ncat\n')
    program.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "diff.odd.command", "diff.odd.textconv", "core.pager",
                "core.askPass", "core.sshCommand"):  # fmt: skip
        git(repository, "config", key, str(program))
    write(repository / ".gitattributes", "*.py diff=odd\n")
    for hook in ("post-index-change", "pre-commit", "post-checkout"):
        write(repository / f".git/hooks/{hook}", program.read_bytes()).chmod(0o755)
    write(repository / "code/train.py", "print(2)\n")
    write(repository / "code/new.bin", "new\n")
    facts = git_facts(repository)
    assert b"+print(2)" in (facts.patch or b"")
    assert not witness.exists()


def test_variables_of_another_git_lead_nowhere_else(repository, tmp_path, monkeypatch):
    commit = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert git_facts(repository / "code").commit == commit


def test_facts_may_be_asked_for_in_many_threads(repository):
    change_everything(repository)
    found: list[GitFacts] = []
    threads = [threading.Thread(target=lambda: found.append(git_facts(repository / "code"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(facts == found[0] for facts in found)
    assert found[0].patch


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, None),
        ({"remote.upstream.url": "git@example.org:a/b.git"}, "git@example.org:a/b.git"),
        ({"remote.one.url": "https://one", "remote.origin.url": "https://two"}, "https://two"),
        ({"remote.one.url": "https://one", "remote.two.url": "https://two"}, None),
        (
            {"remote.one.url": "https://one", "remote.origin.url": "https://two", "branch.main.remote": "one"},
            "https://one",
        ),
    ],
    ids=["none", "the only one", "origin among others", "none of several", "the branch's own"],
)
def test_the_remote_is(settings, told, repository):
    git(repository, "remote", "remove", "origin")
    for key, value in settings.items():
        git(repository, "config", key, value)
    assert git_facts(repository).repository == told
