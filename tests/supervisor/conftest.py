"""What tests of the supervisor share."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider.scriptrun.supervisor import removal

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
