"""What tests of the supervisor share."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider.scriptrun.supervisor.housekeeping import removal
from tests.supervisor.session import Session, Target, install, opened

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def oldest_python() -> str:
    """Return a Python 3.8, the oldest that the supervisor runs on: from PATH, or where pyenv keeps its own."""
    found = [*Path.home().glob(".pyenv/versions/3.8.*/bin/python3.8"), shutil.which("python3.8")]
    for python in filter(None, found):
        if subprocess.run([python, "-c", "pass"], capture_output=True, check=False).returncode == 0:
            return str(python)
    pytest.skip("there is no Python 3.8 here")


@pytest.fixture
def deep_path(tmp_path: Path) -> Iterator[Path]:
    """Return a folder for trees that are too deep for ``shutil.rmtree``; it is gone at the end of the test."""
    folder = tmp_path / "deep"
    folder.mkdir()
    yield folder
    assert removal.remove(str(folder), str(tmp_path / "trash")) == []


@pytest.fixture(scope="session")
def supervisor_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that starts the supervisor, as a target has it."""
    return install(tmp_path_factory.mktemp("supervisor"), sys.executable)


@pytest.fixture
def target(tmp_path: Path, supervisor_home: Path) -> Iterator[Target]:
    """Return a target with an awkward root, of which nothing lives after the test."""
    with opened(tmp_path / "a root with spaces \N{LATIN SMALL LETTER E WITH ACUTE}", supervisor_home) as target:
        yield target


@pytest.fixture(params=["this Python", "Python 3.8"])
def every_target(request: pytest.FixtureRequest, tmp_path: Path, supervisor_home: Path) -> Iterator[Target]:
    """Return a target whose supervisor runs under this Python, and under the oldest that it supports."""
    this = request.param == "this Python"
    python = sys.executable if this else request.getfixturevalue("oldest_python")
    with opened(tmp_path / "a root with spaces \N{LATIN SMALL LETTER E WITH ACUTE}", supervisor_home, python) as target:
        yield target


@pytest.fixture
def session(target: Target) -> Session:
    """Return a session with ``target``."""
    return target.session()
