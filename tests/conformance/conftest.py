"""Every test of the suite gets each target of the table in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.client import Client
from tests.conformance.targets import TARGETS, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider.scriptrun.targets.contract import ComputeTarget

PARAMETERS = [
    pytest.param(name, marks=[*map(pytest.mark.needs, entry.needs), *([pytest.mark.slow] if entry.is_slow else [])])
    for name, entry in TARGETS.items()
]


@pytest.fixture(scope="session", params=PARAMETERS)
def shared_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    place = _make(request)
    yield place
    place.remove()


def _make(request: pytest.FixtureRequest) -> Place:
    entry = TARGETS[request.param]
    if "docker" in entry.needs:
        request.getfixturevalue("engine")  # which looks for what is left there, once the place is gone
    return entry.make()


@pytest.fixture
def place(shared_place: Place) -> Place:
    """A target whose root other tests use too: their runs are over."""
    return shared_place


@pytest.fixture(params=PARAMETERS)
def fresh_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A target on which nothing of ours has ever been."""
    place = _make(request)
    yield place
    place.remove()


@pytest.fixture
def target(place: Place) -> Iterator[ComputeTarget]:
    with place.open() as target:
        yield target


@pytest.fixture
def client(target: ComputeTarget) -> Iterator[Client]:
    client = Client(target)
    yield client
    client.cancel_all()


@pytest.fixture
def fresh_client(fresh_place: Place) -> Iterator[Client]:
    """A worker on a target on which nothing of ours has ever been."""
    with fresh_place.open() as target:
        client = Client(target)
        yield client
        client.cancel_all()
