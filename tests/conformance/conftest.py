"""Every test of the suite gets each target of the table in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.client import Client
from tests.conformance.targets import TARGETS, Entry, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest.mark import ParameterSet

    from airflow_provider.scriptrun.targets.contract import ComputeTarget


def _parameter(name: str, entry: Entry) -> ParameterSet:
    marks = [pytest.mark.needs(component) for component in entry.needs]
    if entry.is_slow:
        marks.append(pytest.mark.slow)
    if entry.fixture == "docker_vm":  # one machine for all tests that want one
        marks.append(pytest.mark.xdist_group("docker_vm"))
    return pytest.param(name, marks=marks)


PARAMETERS = [_parameter(name, entry) for name, entry in TARGETS.items()]


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to ``make e2e`` what another target shows as well."""
    for item in items:
        names = item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
        for name in names:
            entry = TARGETS.get(name) if isinstance(name, str) else None
            if entry is not None and entry.is_another_way and item.get_closest_marker("core") is None:
                item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session", params=PARAMETERS)
def shared_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    place = _make(request)
    yield place
    place.remove()


def _make(request: pytest.FixtureRequest) -> Place:
    entry = TARGETS[request.param]
    return entry.make(request.getfixturevalue(entry.fixture)) if entry.fixture else entry.make()


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
