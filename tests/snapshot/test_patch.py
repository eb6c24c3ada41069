"""What a patch of a source directory brings back, and when there is none. Of real repositories."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

from airflow_provider.scriptrun.snapshot import git_facts, patch
from tests.snapshot.repositories import change_everything, git
from tests.snapshot.trees import write


def tree_of(folder: Path) -> dict[str, tuple[str, bytes]]:
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", os.fsencode(os.readlink(path)))
        elif path.is_file():
            found[name] = ("tool" if path.stat().st_mode & stat.S_IXUSR else "file", path.read_bytes())
    return found


def test_a_patch_brings_a_clean_checkout_to_what_was_there(repository, tmp_path):
    change_everything(repository)
    facts = git_facts(repository / "code")
    assert facts.dirty is True
    assert facts.reason is None
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "--quiet", str(repository), str(copy))
    subprocess.run(["git", "apply", "--binary"], cwd=copy, input=facts.patch, check=True)
    (repository / "code/big.ignored").unlink()
    assert tree_of(copy / "code") == tree_of(repository / "code")


def test_a_patch_has_what_changed_in_the_moment_of_the_commit_and_kept_its_size(repository):
    git(repository, "config", "core.trustctime", "false")
    moment, code, index = 1_700_000_000, repository / "code/train.py", repository / ".git/index"
    os.utime(code, (moment, moment))
    git(repository, "add", "--renormalize", "code/train.py")
    git(repository, "status")
    code.write_text("print(3)\n")
    for path in (code, index):
        os.utime(path, (moment, moment))
    facts = git_facts(repository / "code")
    assert facts.dirty
    assert b"+print(3)" in (facts.patch or b"")


def test_a_patch_says_nothing_of_what_lies_beside(repository):
    write(repository / "beside/notes", "other\n")
    git(repository, "add", "beside/notes")
    write(repository / "code/train.py", "print(3)\n")
    assert b"beside" not in (git_facts(repository / "code").patch or b"beside")


def test_a_patch_holds_the_content_itself_where_a_filter_would_replace_it(repository):
    git(repository, "config", "filter.stub.clean", "echo stub")
    git(repository, "config", "filter.stub.required", "true")
    write(repository / "code/.gitattributes", "*.model filter=stub\n")
    write(repository / "code/a.model", "all of the content\n")
    assert b"+all of the content" in (git_facts(repository).patch or b"")


def test_a_patch_over_its_cap_is_left_out_and_says_so(repository, monkeypatch):
    monkeypatch.setattr(patch, "PATCH_MAX_BYTES", 1000)
    write(repository / "code/data.bin", os.urandom(5000))
    facts = git_facts(repository)
    assert (facts.dirty, facts.patch) == (True, None)
    assert "1000 bytes" in (facts.reason or "")


def test_changes_too_large_for_a_patch_are_not_even_read(repository, monkeypatch):
    monkeypatch.setattr(patch, "CHANGED_MAX_BYTES", 1000)
    os.truncate(write(repository / "code/huge"), 10**12)
    facts = git_facts(repository)
    assert (facts.dirty, facts.patch) == (True, None)
    assert "too much for a patch" in (facts.reason or "")


def test_a_repository_whose_path_needs_quoting_has_its_patch(repository, tmp_path):
    for name in ("a:b", '"quoted"', "sp ace", "\u00e9", "-x"):
        odd = tmp_path / name
        shutil.copytree(repository, odd)
        write(odd / "code/train.py", "print(4)\n")
        facts = git_facts(odd / "code")
        assert b"+print(4)" in (facts.patch or b""), (name, facts.reason)
