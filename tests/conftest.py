"""What every test may rely on: ``needs(component)``, and no trace of the machine's own configuration."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import components

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("scriptrun", deadline=None)
hypothesis.settings.load_profile("scriptrun")

pytest_plugins = ("tests.network.fixtures", "tests.docker.fixtures")

# A shell that starts the tests in the background lets them, and all that they start, ignore an interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: How long a process of a finished test may take to be gone.
GONE_SECONDS = 15.0


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No process that a test started in its temporary folder outlives the session."""
    folder = str(tmp_path_factory.getbasetemp())
    yield
    deadline = time.monotonic() + GONE_SECONDS
    while (left := _processes_in(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, "processes outlive the tests:\n" + "\n".join(left)


def _processes_in(folder: str) -> list[str]:
    """Return the processes whose command line or working directory names a folder, as text for a person."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            at = os.readlink(entry / "cwd")
        except OSError:
            continue
        if f"{folder}/" in f"{command} " or at.startswith(f"{folder}/"):
            found.append(f"{entry.name} in {at}: {command[:300]}")
    return found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Name the group of a test behind its id, by which xdist keeps groups together.

    xdist 3.8 does so itself, in an attribute that pytest 9.2 does not look at any more.
    """
    if not config.getoption("loadgroup", default=False):
        return
    for item in items:
        groups = sorted({mark.args[0] for mark in item.iter_markers("xdist_group")})
        name = f"{item.nodeid}@{'_'.join(groups)}"
        if groups and "@" not in item.nodeid.rpartition("]")[2] and hasattr(item, "_id"):
            item._id = type(item._id).parse(name)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose component is missing, and say why; fail it where ``SCRIPTRUN_REQUIRE`` names the component."""
    for mark in item.iter_markers("needs"):
        for component in mark.args:
            components.require(component)
