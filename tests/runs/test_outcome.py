from __future__ import annotations

import pytest

from airflow_provider.scriptrun import errors
from airflow_provider.scriptrun.runs.outcome import error_for
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets.contract import HostFacts, RunStatus


def at(name: str) -> str:
    return f"/w/{name}"


def status(status=Status.FAILED, **more) -> RunStatus:
    return RunStatus(serial=1, status=status, **more)


def test_a_completed_run_is_no_error():
    assert error_for(status(Status.COMPLETED), "r", at) is None


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (Reason.SCRIPT, errors.ScriptFailedError),
        (Reason.SIGNAL, errors.ScriptFailedError),
        (Reason.LAUNCH, errors.ScriptFailedError),
        (Reason.OUT_OF_MEMORY, errors.OutOfMemoryError),
        (Reason.TIMEOUT, errors.RunTimeoutError),
        (Reason.ENVIRONMENT, errors.EnvironmentFailedError),
        (Reason.LOST, errors.RunLostError),
        (Reason.ORPHANED, errors.RunOrphanedError),
        (Reason.CANCELED, errors.RunCanceledError),
        (Reason.SUPERSEDED, errors.RunSupersededError),
        (Reason.SNAPSHOT, errors.RunFailedError),
        (Reason.TARGET, errors.RunFailedError),
        (Reason.UNREACHABLE, errors.RunFailedError),
        (None, errors.RunFailedError),
    ],
)
def test_each_reason_has_its_error(reason, kind):
    error = error_for(status(reason=reason, message="why it was"), "r_1", at)
    assert type(error) is kind
    assert error.run_id == "r_1"
    assert "/w/" in str(error)
    assert "why it was" in str(error)


def test_every_reason_is_thought_of():
    for reason in Reason:
        assert isinstance(error_for(status(reason=reason), "r", at), errors.RunFailedError)


def test_a_failed_script_says_its_exit_code_and_last_words():
    error = error_for(status(reason=Reason.SCRIPT, exit_code=3, last_lines="a\nb\n"), "r", at)
    assert str(error).endswith("Last lines:\na\nb")
    assert "exit code 3" in str(error)
    assert error.exit_code == 3


def test_a_signal_is_named():
    error = error_for(status(reason=Reason.SIGNAL, signal=11), "r", at)
    assert "signal 11 ended the script" in str(error)


def test_requirements_that_cannot_be_resolved_are_told_from_other_trouble():
    error = error_for(status(reason=Reason.ENVIRONMENT, is_unresolvable=True), "r", at)
    assert type(error) is errors.ResolutionError


BUILD = "".join(f"line {n}\n" for n in range(20))


@pytest.mark.parametrize("advice", ["Correct the requirements.", "The whole output is in build.log.", ""])
def test_a_build_that_failed_shows_its_last_lines_once_and_names_its_own_log(advice):
    message = f"uv could not resolve them (exit code 2). Its last lines:\n{BUILD.rstrip()} {advice}".rstrip()
    failed = status(
        reason=Reason.ENVIRONMENT, message=message, last_lines=BUILD, host=HostFacts("machine", name="host-1")
    )
    text = str(error_for(failed, "r", at))
    assert text.count("line 19") == text.count("line 0") == 1
    assert text.endswith(BUILD.rstrip())
    assert all(part in text for part in ("on host-1", "uv could not resolve", "exit code 2", advice, "/w/build.log"))
    assert "/w/run.log" not in text


def test_what_a_build_says_and_its_log_does_not_is_shown_once_too():
    message = "uv could not resolve them (exit code 2). Its last lines:\none\ntwo Correct the requirements."
    failed = status(reason=Reason.ENVIRONMENT, message=message, last_lines="something else\n")
    text = str(error_for(failed, "r", at))
    assert "one\ntwo Correct" in text
    assert "something else" not in text


def test_a_script_that_failed_names_the_log_of_the_run():
    assert "/w/run.log" in str(error_for(status(reason=Reason.SCRIPT, exit_code=1), "r", at))
