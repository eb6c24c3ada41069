from __future__ import annotations

import pytest

from airflow_provider.scriptrun import errors
from airflow_provider.scriptrun.runs.outcome import error_for
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets.contract import RunStatus


def status(status=Status.FAILED, **more) -> RunStatus:
    return RunStatus(serial=1, status=status, **more)


def test_a_completed_run_is_no_error():
    assert error_for(status(Status.COMPLETED), "r", "/log") is None


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
    error = error_for(status(reason=reason, message="why it was"), "r_1", "/log")
    assert type(error) is kind
    assert error.run_id == "r_1"
    assert "/log" in str(error)
    assert "why it was" in str(error)


def test_every_reason_is_thought_of():
    for reason in Reason:
        assert isinstance(error_for(status(reason=reason), "r", "/log"), errors.RunFailedError)


def test_a_failed_script_says_its_exit_code_and_last_words():
    error = error_for(status(reason=Reason.SCRIPT, exit_code=3, last_lines="a\nb\n"), "r", "/log")
    assert str(error).endswith("Last lines:\na\nb")
    assert "exit code 3" in str(error)
    assert error.exit_code == 3


def test_a_signal_is_named():
    error = error_for(status(reason=Reason.SIGNAL, signal=11), "r", "/log")
    assert "signal 11 ended the script" in str(error)


def test_requirements_that_cannot_be_resolved_are_told_from_other_trouble():
    error = error_for(status(reason=Reason.ENVIRONMENT, is_unresolvable=True), "r", "/log")
    assert type(error) is errors.ResolutionError
