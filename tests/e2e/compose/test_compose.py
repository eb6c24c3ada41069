"""The deployment of docker-compose.yml: built, started, used on every target over the REST API, taken down."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest

from tests.compose.deployment import Deployment, make_images
from tests.docker.leaks import Leaks, new_volume

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.needs("compose", "network")]

#: An environment may have to be built on the way.
PATIENCE_SECONDS = 900
#: Target -> the example that runs there.
EXAMPLES = {"local": "train_on_vm", "training_vm": "train_on_vm", "docker_host": "train_in_docker"}


@pytest.fixture(scope="module")
def deployment(base_image_name: str, engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A healthy deployment; nothing of it is left in the engine when its tests have ended."""
    began = time.monotonic()
    make_images(base_image_name)
    project, leaks = new_volume(), Leaks(engine)
    found = Deployment(tmp_path_factory.mktemp("compose"), project, base_image_name)
    try:
        found.compose.run("build")
        built = time.monotonic()
        found.compose.up()
        print(f"Compose: built in {built - began:.0f} s, healthy {time.monotonic() - built:.0f} s later")
        yield found
        found.remove()
        assert not leaks.found(project)
    finally:
        leaks.remove(leaks.found(project))
        leaks.close()


@pytest.fixture(scope="module")
def records(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """Target -> the record of a run there; all are under way at once."""
    runs = {target: deployment.trigger(dag, {"compute_target": target}) for target, dag in EXAMPLES.items()}
    found = {}
    for target, run in runs.items():
        state = deployment.wait_for_run(EXAMPLES[target], run, PATIENCE_SECONDS)
        assert state == "success", "\n".join(deployment.task_log(EXAMPLES[target], run, "train"))
        found[target] = deployment.xcom(EXAMPLES[target], run, "train")
    return found


def test_secrets_are_for_their_owner_alone_and_no_two_deployments_share_one(
    deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert deployment.compose.settings.stat().st_mode & 0o777 == 0o600
    other = Deployment(tmp_path_factory.mktemp("other"), "other", "other").compose.values
    own = deployment.compose.values
    chosen_by_a_person = {name for name in own if own[name] == other[name]}
    assert not [name for name in chosen_by_a_person if "PASSWORD" in name or "KEY" in name or "SECRET" in name]


def test_nobody_gets_in_with_a_password_that_was_not_made_for_it(deployment: Deployment) -> None:
    for password in ("admin", "airflow", ""):
        with pytest.raises(urllib.error.HTTPError) as refused:
            deployment.request("POST", "/auth/token", {"username": "admin", "password": password})
        assert refused.value.code in (400, 401)


@pytest.mark.parametrize("target", EXAMPLES)
def test_an_example_runs_on_every_target(records: dict[str, dict[str, Any]], target: str) -> None:
    record = records[target]
    assert record["status"] == "Completed"
    assert record["target"]["name"] == target
    assert record["metrics"]["rmse"] < 1.5
    assert "outputs/model.json" in {file["path"] for file in record["outputs"]["files"]} or "model.json" in {
        file["path"] for file in record["outputs"]["files"]
    }
    assert "/opt/airflow/workspace/" in record["log"]["uri"]


def test_targets_are_different_machines(records: dict[str, dict[str, Any]]) -> None:
    assert len({record["target"]["host"] for record in records.values()}) == len(EXAMPLES)


def test_every_service_is_healthy_after_its_work(deployment: Deployment, records: dict[str, dict[str, Any]]) -> None:
    deployment.until(lambda: not deployment.compose.unhealthy(), PATIENCE_SECONDS, "a service is not healthy")
