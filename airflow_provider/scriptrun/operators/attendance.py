"""One try of a task and its run: submit or join, follow, and end in the way that befits why it ended."""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowException, AirflowRescheduleException, AirflowTaskTimeout

from airflow_provider.scriptrun.errors import (
    ConfigurationError,
    RunCanceledError,
    RunFailedError,
    RunTimeoutError,
    ScriptRunError,
)
from airflow_provider.scriptrun.hooks.surroundings import AirflowSurroundings
from airflow_provider.scriptrun.links.run_links import push_links
from airflow_provider.scriptrun.operators import killing, outlets, task_facts
from airflow_provider.scriptrun.operators.state import TaskState
from airflow_provider.scriptrun.operators.task_log import TaskLog
from airflow_provider.scriptrun.runs.lineage import Lineage, load_cursor, save_cursor
from airflow_provider.scriptrun.runs.request import LOCAL
from airflow_provider.scriptrun.runs.run import Run
from airflow_provider.scriptrun.runs.submission import submit
from airflow_provider.scriptrun.runs.workspace import Workspace
from airflow_provider.scriptrun.supervisor.protocol.status import Reason
from airflow_provider.scriptrun.targets.contract import Cursor
from airflow_provider.scriptrun.targets.registry import open_target
from airflow_provider.scriptrun.triggers import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow.sdk import Context

    from airflow_provider.scriptrun.config import ScriptRunConfig
    from airflow_provider.scriptrun.operators.deadline import Deadline

#: Airflow kills a task 5 s after it told it to stop. Asking for a cancel takes milliseconds, the supervisor does the
#: rest.
KILL_WAIT_SECONDS = 1.0
#: A worker that is being stopped takes no more tasks by then, and the scheduler has heard that this one went: it fails
#: one that it starts again before (see :data:`wait.SETTLE_SECONDS`). The run goes on meanwhile, so there is no hurry.
RESCHEDULE_AFTER = timedelta(seconds=15)
#: Where the task's state store has the number of the latest try that deferred.
DEFERRED_TRY = "deferred_try"


class RunGoesOnError(AirflowException):
    """The worker was told to stop, the run was not: a later try joins it."""


class Attendance:
    """One try of a task, from its submission to its record.

    :param context: Airflow's, of this try.
    :param log: the task's logger.
    :param told_to_stop: whether ``on_kill`` was called.
    :param deadline: the task's ``execution_timeout``.
    :param defer: hands a run that goes on over to the triggerer, and does not return; ``None``: the worker waits.
    """

    def __init__(
        self,
        context: Context,
        log: Any,
        *,
        told_to_stop: Callable[[], bool],
        deadline: Deadline,
        defer: Callable[[wait.Wait], NoReturn] | None = None,
    ) -> None:
        self._defer, self._defers_at = defer, math.inf
        self._context, self._told_to_stop, self._deadline = context, told_to_stop, deadline
        self._surroundings = AirflowSurroundings(task_facts.dag_folder(context))
        self._state = TaskState(context)
        self._reporter = TaskLog(log)
        self._secrets: Iterable[str] = ()

    def attend(self, config: ScriptRunConfig, experiment: str, *, refresh_environment: bool = False) -> dict[str, Any]:
        """Return the record of a run that Completed. Raises the error of the tree that says how it ended otherwise."""
        run: Run | None = None
        self._secrets = config.secret_variables.values()
        try:
            run = self._submit(config, experiment, refresh_environment)
            return self._follow(run)
        except AirflowTaskTimeout:
            self._deadline.heed()
            if run is not None:
                run.close()  # it was interrupted in the middle of whatever it asked
            return self._time_out(run)
        except ScriptRunError as error:
            if run is not None or not self._should_stop():
                raise
            self._reporter.note(f"The submission was broken off: {error}")
            return self._time_out(None) if self._deadline.passed else self._leave(None)
        finally:
            if run is not None:
                run.close()

    def resume(
        self,
        run_id: str,
        experiment: str,
        cursor: Mapping[str, Any],
        *,
        secrets: Iterable[str],
        recall: Callable[[Mapping[str, Any]], None],
        is_over_time: bool,
    ) -> dict[str, Any]:
        """Go on with a run that was watched in the triggerer, as :meth:`attend` would have.

        :param cursor: how far it was shown there.
        :param secrets: references to what must not be shown: this is another process, whose masker knows none of it.
        :param recall: is told which configuration is run.
        :param is_over_time: the ``execution_timeout`` passed meanwhile.
        """
        run = Run(
            Workspace.from_config(self._surroundings),
            experiment,
            run_id,
            surroundings=self._surroundings,
            lineage=self._state,
        )
        try:
            for reference in secrets:
                self._hide(reference)
            recall(run.submission["config"])
            if is_over_time:
                return self._time_out(run)
            return self._follow(run, Cursor.from_document(cursor))
        except AirflowTaskTimeout:
            self._deadline.heed()
            run.close()
            return self._time_out(run)
        finally:
            run.close()

    def _hide(self, reference: str) -> None:
        try:
            self._surroundings.secret(reference)
        except ConfigurationError as error:  # it was there when the run began, whose result this is no reason to lose
            self._reporter.warning(f"{error} What the script prints of it is shown as it is.")

    def _follow(self, run: Run, cursor: Cursor | None = None) -> dict[str, Any]:
        push_links(run, self._context["ti"], self._surroundings.settings.workspace_page)
        if self._may_defer(run):
            self._defers_at = time.monotonic() + self._surroundings.settings.defer_after_seconds
        status = run.watch(self._reporter, should_stop=self._should_look_up, cursor=cursor)
        if status is not None and status.is_terminal:
            return self._deliver(run)
        if self._deadline.passed:
            return self._time_out(run)
        return self._leave(run) if self._told_to_stop() else self._hand_over(run)

    def _should_stop(self) -> bool:
        return self._told_to_stop() or self._deadline.passed

    def _should_look_up(self) -> bool:
        return self._should_stop() or time.monotonic() >= self._defers_at

    def _may_defer(self, run: Run) -> bool:
        if self._defer is None:
            return False
        if run.submission["target"]["type"] == LOCAL and not self._surroundings.settings.triggerer_shares_host:
            self._reporter.note(
                "This run is on the worker's own host, so the worker waits for it. Set [scriptrun] "
                "triggerer_shares_host if the triggerer runs there too."
            )
            return False
        # A try that was given back begins anew, and a second trigger of one try would cut off the log of the first.
        is_begun_anew = bool(self._context.get("task_reschedule_count"))
        if is_begun_anew and self._state.get(DEFERRED_TRY) == self._context["ti"].try_number:
            self._reporter.note("This try has waited in the triggerer before, so the worker waits for the rest of it.")
            return False
        return True

    def _hand_over(self, run: Run) -> NoReturn:
        """Let the triggerer watch from here on."""
        if self._defer is None:
            raise AssertionError("nobody to hand over to")
        cursor = load_cursor(self._state, run.id) or Cursor(run.id)
        save_cursor(self._state, cursor, handed_over=True)
        self._state.set(DEFERRED_TRY, self._context["ti"].try_number)
        submission = run.submission
        seconds_left = self._deadline.seconds_left()
        self._reporter.note(f"Run {run.id} goes on; the triggerer watches it from here on, and its log goes on there.")
        self._defer(
            wait.Wait(
                handle=dict(submission["handle"]),
                cursor=cursor.document(),
                workspace=run.workspace.url,
                folder=run.folder.name,
                log_uri=run.log_uri,
                orphan_after_s=submission["limits"]["orphan_after_s"],
                grace_s=submission["limits"]["grace_s"],
                deadline=None if seconds_left is None else time.time() + seconds_left,
                not_before=time.time() + wait.SETTLE_SECONDS,
                secrets=list(self._secrets),
            )
        )

    def _submit(self, config: ScriptRunConfig, experiment: str, refresh_environment: bool) -> Run:
        return submit(
            config,
            workspace=Workspace.from_config(self._surroundings),
            experiment=experiment,
            lineage=self._state,
            seed=task_facts.seed(self._context),
            attempt=task_facts.attempt(self._context),
            airflow=task_facts.record_part(self._context),
            bundle=task_facts.bundle(self._context),
            reporter=self._reporter,
            surroundings=self._surroundings,
            should_stop=self._should_stop,
            refresh_environment=refresh_environment,
        )

    def _deliver(self, run: Run) -> dict[str, Any]:
        """Collect, and hand the record over: a failed run's too, before its error is raised."""
        record = run.collect(reporter=self._reporter)
        try:
            run.raise_for_status()
        except RunFailedError:
            self._push(record)
            run.mark_delivered()
            raise
        outlets.tell(self._context, record, experiment_uri=run.experiment_uri)
        run.mark_delivered()
        return record

    def _push(self, record: dict[str, Any]) -> None:
        """Push what Airflow pushes of a task that succeeds."""
        ti = self._context["ti"]
        if not ti.task.do_xcom_push:
            return
        fields = record if ti.task.multiple_outputs else {}
        for name, value in {**fields, "return_value": record}.items():
            ti.xcom_push(name, value)

    def _time_out(self, run: Run | None) -> dict[str, Any]:
        """Cancel a run whose task's time is over, and collect what it left: a record if it just made it."""
        self._deadline.heed()
        self._reporter.warning("The task's execution_timeout has passed; what of its run is alive is cancelled.")
        self._cancel(run, Reason.TIMEOUT)
        if run is not None:
            return self._deliver(run)
        raise RunTimeoutError("The task's execution_timeout passed before its run had started")

    def _leave(self, run: Run | None) -> NoReturn:
        """Cancel the run of a task that a person ended, and leave that of any other alone."""
        verdict = killing.ask(self._context["ti"], self._context.get("dag_run"))
        if verdict is killing.Verdict.CANCEL:
            self._reporter.warning("The task was ended or cleared; its run is cancelled.")
            self._cancel(run, Reason.CANCELED, wait_seconds=KILL_WAIT_SECONDS)
            raise RunCanceledError("The task was ended or cleared while its run went on, so the run was cancelled")
        if verdict is killing.Verdict.RESCHEDULE:
            self._reporter.warning("The worker was told to stop. The run goes on; this try will join it again.")
            raise AirflowRescheduleException(datetime.now(timezone.utc) + RESCHEDULE_AFTER)  # type: ignore[no-untyped-call]
        raise RunGoesOnError(
            "The worker was told to stop. The run goes on; the next try of this task joins it. If none follows, it "
            "ends itself when nobody has watched it for [scriptrun] orphan_after_seconds."
        )

    def _cancel(self, run: Run | None, reason: Reason, wait_seconds: float | None = None) -> None:
        if run is not None:
            run.cancel(reason=reason, wait_seconds=wait_seconds)
            return
        lineage = Lineage.load(self._state)
        if lineage is None:
            return
        with open_target(lineage.connection, self._surroundings, host_id=lineage.host_id or None) as target:
            wait_s = {} if wait_seconds is None else {"wait_s": wait_seconds}
            target.cancel(lineage.run_id, lineage=lineage.id, reason=reason, **wait_s)
