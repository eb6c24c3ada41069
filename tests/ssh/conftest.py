"""A worker for each test, and a server for each module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import components
from tests.network.sshd import Sshd
from tests.ssh.worker import Worker

PASSWORD = "correct horse battery staple"


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    return Worker(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    """A server that the tests of a module share; it accepts :data:`PASSWORD` where it has a user of its own."""
    components.require("sshd")
    password = PASSWORD if components.why_missing("another user") is None else None
    with Sshd(own_network=False, password=password) as server:
        yield server


@pytest.fixture
def options(server: Sshd) -> Iterator[Callable[..., None]]:
    """Start the module's server anew with options of sshd_config(5); afterwards it has none again."""

    def use(**options: Any) -> None:
        server.restart(options)

    yield use
    server.restart({})


@pytest.fixture
def bashrc(server: Sshd) -> Iterator[Callable[[str], None]]:
    """Write what bash reads before each command of the module's user; afterwards there is nothing again."""
    path = Path(server.host.home, ".bashrc")

    def write(text: str) -> None:
        path.write_text(text)
        path.chmod(0o644)

    yield write
    path.unlink(missing_ok=True)
