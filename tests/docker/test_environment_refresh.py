"""An environment's image is resolved anew when a run asks for it, when it is too old and when its base is another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest
from docker.errors import ImageNotFound

from airflow_provider.scriptrun.environments.settings import DEFAULT_LOCK_MAX_AGE_S
from airflow_provider.scriptrun.runs import surroundings
from airflow_provider.scriptrun.targets.docker import package_image
from tests.docker import images, index
from tests.docker.build_site import Site, alpha, images_of
from tests.docker.package_index import PackageIndex

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow]

SAYS_VERSION = "import alpha; print(alpha.VERSION)"
SAYS_FLAVOUR = "import alpha; print(open('/flavour').read().strip())"
OLD, NEW = "alpha-1.0-py3-none-any.whl", "alpha-2.0-py3-none-any.whl"
MAX_AGE_DAYS = "AIRFLOW__SCRIPTRUN__ENVIRONMENT_LOCK_MAX_AGE_DAYS"
#: In days. What was resolved for an earlier run is older than next to nothing, a tenth of a millisecond.
FOR_EVER, NEXT_TO_NOTHING, A_DAY = "0", "1e-9", "1"


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[PackageIndex]:
    with PackageIndex(tmp_path / "index", {"alpha": "1.0"}) as serving:
        yield serving


@pytest.fixture
def site(name_engine: Callable[..., str], packages: PackageIndex, tmp_path: Path) -> Site:
    name_engine(network=index.NETWORK, index_url=packages.url)
    return Site(tmp_path)


@pytest.fixture
def allow_days(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Configure how old a lock may be, for what is submitted from now on; a process reads its configuration once."""

    def allow_days(days: str) -> None:
        monkeypatch.setenv(MAX_AGE_DAYS, days)
        surroundings.use(None)

    before = surroundings.use(None)
    yield allow_days
    surroundings.use(before)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let the worker's clock say that so many seconds have passed, where it looks at the age of an image."""

    def later(seconds: float) -> None:
        clock = SimpleNamespace(time=lambda: time.time() + seconds, monotonic=time.monotonic, sleep=time.sleep)
        monkeypatch.setattr(package_image, "time", clock)

    return later


def ran(site: Site, script: str = SAYS_VERSION, **fields: Any) -> tuple[str, bool]:
    """Run a script, and return what it said and whether its environment was there already."""
    record = site.record(alpha(), script, **fields)
    assert record["status"] == "Completed", record
    return Path(record["log"]["uri"]).read_text().strip(), record["environment"]["reused"]


def id_of(client: docker.DockerClient, store: str) -> str:
    """Return the id of the only environment's image."""
    (tag,) = images_of(client, store)
    return str(client.images.get(tag).id)


def test_a_newer_version_takes_the_place_of_the_older_one_when_a_run_asks_for_a_refresh(
    site: Site, packages: PackageIndex, docker_client: docker.DockerClient, store: str
) -> None:
    assert ran(site) == ("1.0", False)
    older = id_of(docker_client, store)
    packages.offer("alpha", "2.0")
    assert ran(site) == ("1.0", True)
    assert ran(site, refresh=True) == ("2.0", False)
    assert ran(site) == ("2.0", True)
    assert packages.wheels == [OLD, NEW]
    assert id_of(docker_client, store) != older
    with pytest.raises(ImageNotFound):
        docker_client.images.get(older)


def test_a_refresh_that_resolves_to_the_same_versions_leaves_the_image_as_it_is(
    site: Site, docker_client: docker.DockerClient, store: str
) -> None:
    first = site.record(alpha())
    before = id_of(docker_client, store)
    second = site.record(alpha(), refresh=True)
    assert [record["status"] for record in (first, second)] == ["Completed"] * 2, second
    assert [record["environment"]["reused"] for record in (first, second)] == [False, False], "it was installed to see"
    assert first["environment"]["id"] == second["environment"]["id"]
    assert id_of(docker_client, store) == before


def test_what_was_resolved_longer_ago_than_the_configuration_allows_is_resolved_again(
    site: Site, packages: PackageIndex, allow_days: Callable[[str], None]
) -> None:
    assert ran(site) == ("1.0", False)
    packages.offer("alpha", "2.0")
    allow_days(FOR_EVER)
    assert ran(site) == ("1.0", True)
    allow_days(NEXT_TO_NOTHING)
    assert ran(site) == ("2.0", False)
    allow_days(A_DAY)
    assert ran(site) == ("2.0", True)


def test_what_is_too_old_is_used_where_the_index_is_away_unless_a_run_asks_for_a_refresh(
    site: Site, packages: PackageIndex, allow_days: Callable[[str], None], later: Callable[[float], None]
) -> None:
    assert ran(site) == ("1.0", False)
    packages.offer("alpha", "2.0")
    allow_days(NEXT_TO_NOTHING)
    packages.is_away = True
    assert ran(site) == ("1.0", True)
    record = site.record(alpha(), refresh=True)
    assert (record["status"], record["reason"]) == ("Failed", "environment"), record
    packages.is_away = False
    assert ran(site) == ("1.0", True), "nobody tries again within the hour"
    later(package_image.RETRY_S)
    assert ran(site) == ("2.0", False)


def test_the_age_of_an_image_that_came_out_the_same_counts_from_when_it_was_resolved_last(
    site: Site, docker_client: docker.DockerClient, store: str, later: Callable[[float], None]
) -> None:
    assert ran(site) == ("1.0", False)
    before = id_of(docker_client, store)
    later(DEFAULT_LOCK_MAX_AGE_S)
    assert ran(site) == ("1.0", False)
    assert ran(site) == ("1.0", True)
    assert id_of(docker_client, store) == before


def test_packages_are_installed_anew_on_a_base_image_whose_tag_was_moved(
    name_engine: Callable[..., str], packages: PackageIndex, store: str, base_image_name: str,
    docker_client: docker.DockerClient, tmp_path: Path,
) -> None:  # fmt: skip
    base = f"{store}/base:latest"
    name_engine(network=index.NETWORK, index_url=packages.url, base_image=base)
    site = Site(tmp_path)
    try:
        for flavour in ("vanilla", "lemon"):
            images.build(base, f"FROM {base_image_name}\nRUN echo {flavour} > /flavour\n", salt=flavour)
            assert ran(site, SAYS_FLAVOUR) == (flavour, False)
            assert ran(site, SAYS_FLAVOUR) == (flavour, True)
    finally:
        images.remove(base)
    assert packages.wheels == [OLD, OLD]
    assert len(images_of(docker_client, store)) == 2
