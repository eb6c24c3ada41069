"""The hook: a target by its connection id, tested by a button, used from plain Python."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from airflow_provider.scriptrun import ConfigurationError, ScriptRunConfig, ScriptRunHook
from airflow_provider.scriptrun.runs import surroundings
from airflow_provider.scriptrun.targets import checking
from airflow_provider.scriptrun.targets.findings import TargetWarning, Trouble
from tests.airflow.project import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.airflow.project import Project


@pytest.fixture(autouse=True)
def _surroundings_of_this_test(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{project.root}/not_there.db")
    previous = surroundings.use(None)
    yield
    surroundings.use(previous)


def connect(monkeypatch: pytest.MonkeyPatch, connection_id: str, **extra: object) -> None:
    value = json.dumps({"conn_type": "scriptrun_local", "extra": extra})
    monkeypatch.setenv(f"AIRFLOW_CONN_{connection_id.upper()}", value)


def test_local_needs_no_connection(project: Project) -> None:
    facts = ScriptRunHook().check()
    assert facts.interpreter == sys.executable
    assert facts.root == str(project.target)


def test_the_test_button_says_what_is_there(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "second", root=str(project.root / "second"), interpreter=sys.executable)
    works, message = ScriptRunHook("second").test_connection()
    assert works, message
    assert sys.executable in message
    assert str(project.root / "second") in message


def test_the_test_button_says_what_is_missing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "broken", root=str(project.root / "b"), interpreter="/no/such/python")
    works, message = ScriptRunHook("broken").test_connection()
    assert not works
    assert "/no/such/python" in message
    works, message = ScriptRunHook("nothing_of_that_name").test_connection()
    assert not works
    assert "AIRFLOW_CONN_NOTHING_OF_THAT_NAME" in message


def test_the_test_button_warns_of_what_will_bite_later(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    warning = TargetWarning(Trouble.CLOCK, "Its clock is an hour ahead", "Set it.")
    monkeypatch.setattr(checking, "judge", lambda *_, **__: (warning,))  # the seam: what this host is like
    works, message = ScriptRunHook().test_connection()
    assert works, message
    assert "Warning: Its clock is an hour ahead. Set it." in message


def test_a_target_is_cleaned_on_demand_by_the_limits_of_the_settings(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, "second", root=str(project.root / "second"), interpreter=sys.executable)
    (project.root / "code").mkdir()
    (project.root / "code" / "train.py").write_text("print('hello')")
    hook = ScriptRunHook("second")
    hook.clean()  # so that the run's supervisor does not, behind its end
    run = hook.submit(ScriptRunConfig("code", "train.py"), "churn")
    try:
        run.wait_for_completion()
    finally:
        run.close()
    assert hook.clean()["runs"] == 0
    days_ago = time.time() - 15 * 86400  # the default is 14
    for path in (project.root / "second" / "runs").glob("*/*"):
        os.utime(path, (days_ago, days_ago))
    assert until(lambda: hook.clean()["runs"], "the supervisor's end, which holds its run until then") == 1
    assert not list((project.root / "second" / "runs").iterdir())


def test_airflow_itself_tests_a_connection_that_is_stored_nowhere(project: Project) -> None:
    from airflow.sdk import Connection

    extra = json.dumps({"root": str(project.root / "new"), "interpreter": sys.executable})
    works, message = Connection(conn_id="new_one", conn_type="scriptrun_local", extra=extra).test_connection()
    assert works, message


def test_a_connection_of_another_type_is_no_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DB", "postgres://u:p@h/d")
    with pytest.raises(ConfigurationError, match="postgres"):
        ScriptRunHook("db").get_conn()


def test_a_run_is_submitted_without_a_task(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "second", root=str(project.root / "second"), interpreter=sys.executable)
    (project.root / "code").mkdir()
    (project.root / "code" / "train.py").write_text("print('hello')")
    config = ScriptRunConfig("code", "train.py")
    run = ScriptRunHook("second").submit(config, "churn")
    try:
        details = run.wait_for_completion()
    finally:
        run.close()
    assert details["status"] == "Completed"
    assert config.run_config.target == "local"
    assert (project.root / "second" / "runs").exists()
