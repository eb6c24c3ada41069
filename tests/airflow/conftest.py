"""What the tests of Airflow's edge share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.airflow.workers import Nursery, nursery

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def one_nursery() -> Iterator[Nursery]:
    with nursery() as started:
        yield started


@pytest.fixture
def workers(one_nursery: Nursery) -> Iterator[Nursery]:
    """Starts workers; kills what is left of them after the test."""
    yield one_nursery
    one_nursery.clear()
