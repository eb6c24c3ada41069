"""When a task is tried again, where the person who wrote it has not said so.

A retry costs nothing where it joins a run that is alive, and everything where it trains for hours to fail in the same
way. So a task has retries by default, and a policy that does not spend them on what will not change by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.configuration import conf

from airflow_provider.scriptrun import errors

if TYPE_CHECKING:
    from airflow.sdk import RetryPolicy

#: How often a task is tried again where neither the task, nor ``default_args``, nor ``[core] default_task_retries``
#: says so: enough to come back to a run after a deploy, a lost worker and a lost host.
RETRIES_WHEN_UNSAID = 3

#: What no retry can change: what is written in the DAG file, or what somebody decided.
USELESS: list[type[BaseException] | str] = [
    errors.ConfigurationError,
    errors.SnapshotTooLargeError,
    errors.ResolutionError,
    errors.RunSupersededError,
]

#: What a retry would repeat, at the full price of the run. A person who asks for retries asks for these too.
REPEATED: list[type[BaseException] | str] = [
    errors.ScriptFailedError,
    errors.RunTimeoutError,
    errors.RunCanceledError,
]


class UnsaidRetries(int):
    """A number of retries that nobody asked for; told apart from the same number when somebody did."""


def default_retries() -> int:
    """Return what ``retries`` is when a task does not say: Airflow's own setting where it is set, else ours."""
    return conf.getint("core", "default_task_retries", fallback=0) or UnsaidRetries(RETRIES_WHEN_UNSAID)


def settle(kwargs: dict[str, Any]) -> None:
    """Write into a mapped task's arguments what an operator that is not mapped would settle for itself.

    The scheduler reads a mapped task's retries from there, before any of its operators is made; and as plain values:
    the DAG processor hands them over as they are.
    """
    retries = kwargs.get("retries")
    if retries is None:
        retries = default_retries()
        kwargs["retries"] = int(retries)
    if kwargs.get("retry_policy") is None:
        kwargs["retry_policy"] = default_policy(retries)


def default_policy(retries: int | None) -> RetryPolicy:
    """Return the retry policy of a task that names none.

    :param retries: as :func:`default_retries` gave it, or a person.
    """
    rules = [RetryRule(exception=USELESS, action=RetryAction.FAIL, reason="another try would end in the same way")]
    if isinstance(retries, UnsaidRetries):
        rules.append(
            RetryRule(
                exception=REPEATED,
                action=RetryAction.FAIL,
                reason="the script itself ended so; set retries on the task to run it again",
            )
        )
    return ExceptionRetryPolicy(rules=rules)
