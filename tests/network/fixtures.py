"""Servers for every test that asks for one. Where none can be started, the test is skipped with a reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import components
from tests.network.sshd import Sshd


@pytest.fixture(scope="session")
def sshd() -> Iterator[Sshd]:
    """A server that other tests use too: leave it as you found it."""
    components.require("sshd")
    with Sshd() as server:
        yield server


@pytest.fixture
def fresh_sshd() -> Iterator[Sshd]:
    """A server that no other test knows, to be frozen, killed and started anew."""
    components.require("sshd")
    with Sshd() as server:
        yield server
