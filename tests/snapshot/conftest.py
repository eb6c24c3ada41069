"""A real Git repository."""

from __future__ import annotations

import os

import pytest

from tests.snapshot.repositories import git
from tests.snapshot.trees import write


@pytest.fixture
def own_git_configuration(monkeypatch, tmp_path):
    """Git reads no configuration but a test's own."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(write(tmp_path / "gitconfig", "[user]\nname=A\nemail=a@example.org\n")))


@pytest.fixture
def repository(own_git_configuration, tmp_path):
    """A repository with one commit on ``main``, a source directory ``code`` in it, and a folder beside."""
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    write(root / "code/train.py", "print(1)\n")
    write(root / "code/data.bin", bytes(range(256)) * 20)
    write(root / "code/old.py", "old\n")
    write(root / "beside/notes", "notes\n")
    write(root / ".gitignore", "*.ignored\n")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=first")
    git(root, "remote", "add", "origin", "https://user:s3cr3t@example.org/team/code.git")
    return root
