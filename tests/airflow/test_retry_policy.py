"""Which failures are tried again, with Airflow's own retry policies, and by default."""

from __future__ import annotations

import json
import socket
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG

from airflow_provider.scriptrun import Environment, ScriptRunConfig, ScriptRunOperator, errors
from tests.airflow import page
from tests.airflow.harness import FakeAirflow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.airflow.project import Project

#: The policy that docs/airflow.md shows.
POLICY = page.run(page.blocks()["Retries"])["policy"]
RETRIES = 5


def operator(project: Project, **options: Any) -> ScriptRunOperator:
    """A task whose script ends with code 3, unless ``config`` says otherwise."""
    (project.dags / "code").mkdir(exist_ok=True)
    (project.dags / "code" / "train.py").write_text("raise SystemExit(3)")
    options = {"config": ScriptRunConfig("code", "train.py"), **options}
    with DAG("dag", params={"script": "../outside.py"}) as dag:
        made = ScriptRunOperator(task_id="train", **options)
    dag.fileloc = str(project.dags / "dag.py")
    return made


def unresolvable(project: Project, index: str) -> ScriptRunConfig:
    """A configuration whose environment names a package that the index has not."""
    (project.dags / "requirements.txt").write_text(f"--no-index\n--find-links {index}\nno-such-package\n")
    environment = Environment.from_pip_requirements("none", "requirements.txt")
    return ScriptRunConfig("code", "train.py", environment=environment)


@pytest.fixture
def unreachable() -> Iterator[FakeAirflow]:
    """Airflow with a connection ``vm`` to a port that refuses whoever comes."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))  # and nobody listens
        extra = json.dumps({"no_host_key_check": "true"})
        connection = {"conn_type": "scriptrun_ssh", "host": "127.0.0.1", "port": port.getsockname()[1], "login": "me"}
        yield FakeAirflow(
            retries=RETRIES, connections={"vm": {**connection, "password": "not a secret", "extra": extra}}
        )


@pytest.mark.slow
@pytest.mark.parametrize("policy", [POLICY, None], ids=["the page's", "default"])
def test_a_target_that_cannot_be_reached_is_tried_again_soon(
    project: Project, unreachable: FakeAirflow, policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__SCRIPTRUN__UNREACHABLE_AFTER_SECONDS", "1")
    options = {} if policy is None else {"retries": RETRIES, "retry_policy": policy}
    outcome = unreachable.run(operator(project, compute_target="vm", **options))
    assert isinstance(outcome.error, errors.TargetUnreachableError), outcome.error
    assert outcome.state == "up_for_retry"
    expected = (30, "the machine may soon be back") if policy is not None else (None, None)
    assert (unreachable.said["retry_delay_seconds"], unreachable.said["retry_reason"]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("policy", [POLICY, None], ids=["the page's", "default"])
def test_requirements_that_cannot_be_resolved_are_not_tried_again(project: Project, index: str, policy: Any) -> None:
    options = {} if policy is None else {"retries": RETRIES, "retry_policy": policy}
    outcome = FakeAirflow(retries=RETRIES).run(operator(project, config=unresolvable(project, index), **options))
    assert isinstance(outcome.error, errors.ResolutionError), outcome.error
    assert outcome.state == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("policy", [POLICY, None], ids=["the page's", "default"])
def test_a_configuration_that_is_wrong_once_it_is_rendered_is_not_tried_again(project: Project, policy: Any) -> None:
    options = {} if policy is None else {"retries": RETRIES, "retry_policy": policy}
    config = ScriptRunConfig("code", "{{ params.script }}")
    outcome = FakeAirflow(retries=RETRIES).run(operator(project, config=config, **options))
    assert isinstance(outcome.error, errors.ConfigurationError), outcome.error
    assert outcome.state == "failed"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({}, "failed"),
        ({"retries": RETRIES}, "up_for_retry"),
        ({"retries": RETRIES, "retry_policy": POLICY}, "up_for_retry"),
    ],
    ids=["default", "retries of a person's own", "a policy that does not speak of it"],
)
def test_a_failing_script_spends_retries_only_where_somebody_asked_for_them(
    project: Project, options: dict[str, Any], state: str
) -> None:
    outcome = FakeAirflow(retries=RETRIES).run(operator(project, **options))
    assert isinstance(outcome.error, errors.ScriptFailedError), outcome.error
    assert outcome.error.exit_code == 3
    assert outcome.state == state


@pytest.mark.parametrize(
    ("kind", "delay"),
    [
        (errors.TargetUnreachableError, timedelta(seconds=30)),
        (errors.TargetRefusedError, None),
        (errors.RunLostError, None),
        (errors.EnvironmentFailedError, None),
        (errors.ScriptFailedError, None),
    ],
)
def test_what_the_policy_of_the_page_tries_again(kind: type[errors.ScriptRunError], delay: timedelta | None) -> None:
    decision = POLICY.evaluate(kind("it"), 1, RETRIES)
    assert decision.action.value != "fail"
    assert decision.retry_delay == delay


@pytest.mark.parametrize(
    "kind", [errors.ConfigurationError, errors.NotSupportedError, errors.ResolutionError, errors.OutOfMemoryError]
)
def test_what_the_policy_of_the_page_does_not_try_again(kind: type[errors.ScriptRunError]) -> None:
    assert POLICY.evaluate(kind("it"), 1, RETRIES).action.value == "fail"
