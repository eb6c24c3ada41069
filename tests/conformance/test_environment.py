"""Environments: built once, reused by every run, recorded; made ahead of time on request."""

from __future__ import annotations

import uuid

import pytest

from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets.contract import Limits
from tests.conformance.client import from_pip, user_managed

#: Small, pure Python, without requirements of its own.
PACKAGE = "iniconfig"
SCRIPT = f"import {PACKAGE}, os; print({PACKAGE}.__file__, os.path.realpath(os.__file__))"


def test_the_default_environment_says_what_it_was(client):
    environment = client.finish("import sys; print(sys.executable)").end.environment
    assert (environment.kind, environment.reused) == ("default", True)
    assert environment.python.count(".") == 2
    assert len(environment.id) == 64


def test_a_named_interpreter_is_the_one_that_runs(client, place):
    python = place.run("sh", "-c", "command -v python3").decode().strip()
    script = "import os, sys; print(os.path.realpath(sys.executable))"
    followed = client.finish(script, environment=user_managed(python))
    assert followed.end.environment.kind == "user_managed"
    assert followed.log == place.run("readlink", "-f", followed.end.environment.interpreter)


@pytest.mark.needs("network")
@pytest.mark.slow
def test_an_environment_is_built_by_the_first_run_and_reused_by_every_other(fresh_client):
    plan = from_pip(PACKAGE)
    first = fresh_client.start(SCRIPT, environment=plan)
    second = fresh_client.start(SCRIPT, environment=plan)  # at the same time
    ended = [fresh_client.follow(started.run_id) for started in (first, second)]
    ended.append(fresh_client.finish(SCRIPT, environment=plan))
    assert [followed.end.status for followed in ended] == [Status.COMPLETED] * 3, ended[0].build
    assert sorted(followed.end.environment.reused for followed in ended) == [False, True, True]
    assert len({followed.end.environment.id for followed in ended}) == 1
    assert len({followed.log for followed in ended}) == 1
    paths = [f"{name}" for name in (PACKAGE,)]
    for followed in ended:
        files = {f.path: b"".join(f.chunks) for f in fresh_client.target.fetch(followed.run_id, ["packages.txt"])}
        assert all(files["packages.txt"].decode().startswith(f"{name}==") for name in paths)


@pytest.mark.needs("network")
@pytest.mark.slow
def test_an_environment_can_be_made_ahead_of_time(fresh_client):
    plan = from_pip(PACKAGE)
    request, tree = fresh_client.request(SCRIPT, environment=plan)
    ahead, _ = fresh_client.request(SCRIPT, environment=plan)
    fresh_client.run_ids.append(ahead.run_id)
    prepared = fresh_client.target.prepare(ahead)
    end = fresh_client.follow(prepared.run_id).end
    assert (end.status, end.environment.reused) == (Status.COMPLETED, False)
    fresh_client.submit(request, tree)
    followed = fresh_client.follow(request.run_id)
    assert (followed.end.environment.id, followed.end.environment.reused) == (end.environment.id, True)
    assert PACKAGE.encode() in followed.log


def test_preparing_what_is_there_completes_at_once(client, target):
    request, _ = client.request("print('never')")
    client.run_ids.append(request.run_id)
    followed = client.follow(target.prepare(request).run_id)
    assert (followed.end.status, followed.log) == (Status.COMPLETED, b"")
    assert followed.end.environment.kind == "default"


@pytest.mark.needs("network")
@pytest.mark.slow
def test_a_requirement_that_does_not_exist_fails_with_the_tools_own_words(client):
    name = f"no-such-package-{uuid.uuid4().hex}"
    end = client.finish("print('never')", environment=from_pip(name)).end
    assert (end.status, end.reason, end.is_unresolvable) == (Status.FAILED, Reason.ENVIRONMENT, True)
    assert name in f"{end.message} {end.last_lines}"


@pytest.mark.needs("network")
@pytest.mark.slow
def test_what_is_over_its_age_is_removed_on_demand_and_what_was_just_used_is_not(fresh_client):
    followed = fresh_client.finish(SCRIPT, environment=from_pip(PACKAGE))
    removed = fresh_client.target.clean(Limits(budget_age_s=0, environment_age_s=0))
    assert removed.get("environments", 0) == 0
    again = fresh_client.finish(SCRIPT, environment=from_pip(PACKAGE))
    assert (followed.end.environment.reused, again.end.environment.reused) == (False, True)
