"""One try of a task and its run: submit or join, follow, and end in the way that befits why it ended."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowException, AirflowRescheduleException, AirflowTaskTimeout

from airflow_provider.scriptrun.errors import RunCanceledError, RunFailedError, RunTimeoutError, ScriptRunError
from airflow_provider.scriptrun.hooks.surroundings import AirflowSurroundings
from airflow_provider.scriptrun.operators import killing, task_facts
from airflow_provider.scriptrun.operators.state import TaskState
from airflow_provider.scriptrun.operators.task_log import TaskLog
from airflow_provider.scriptrun.runs.lineage import Lineage
from airflow_provider.scriptrun.runs.submission import submit
from airflow_provider.scriptrun.runs.workspace import Workspace
from airflow_provider.scriptrun.supervisor.protocol.status import Reason
from airflow_provider.scriptrun.targets.registry import open_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Context

    from airflow_provider.scriptrun.config import ScriptRunConfig
    from airflow_provider.scriptrun.operators.deadline import Deadline
    from airflow_provider.scriptrun.runs.run import Run

#: Airflow kills a task 5 s after it told it to stop. Asking for a cancel takes milliseconds, the supervisor does the
#: rest.
KILL_WAIT_SECONDS = 1.0
#: A worker that is being stopped takes no more tasks by then.
RESCHEDULE_AFTER = timedelta(seconds=5)


class RunGoesOnError(AirflowException):
    """The worker was told to stop, the run was not: a later try joins it."""


class Attendance:
    """One try of a task, from its submission to its record.

    :param context: Airflow's, of this try.
    :param log: the task's logger.
    :param told_to_stop: whether ``on_kill`` was called.
    :param deadline: the task's ``execution_timeout``.
    """

    def __init__(self, context: Context, log: Any, *, told_to_stop: Callable[[], bool], deadline: Deadline) -> None:
        self._context, self._told_to_stop, self._deadline = context, told_to_stop, deadline
        self._surroundings = AirflowSurroundings(task_facts.dag_folder(context))
        self._state = TaskState(context)
        self._reporter = TaskLog(log)

    def attend(self, config: ScriptRunConfig, experiment: str, *, refresh_environment: bool = False) -> dict[str, Any]:
        """Return the record of a run that Completed. Raises the error of the tree that says how it ended otherwise."""
        run: Run | None = None
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

    def _follow(self, run: Run) -> dict[str, Any]:
        status = run.watch(self._reporter, should_stop=self._should_stop)
        if status is not None and status.is_terminal:
            return self._deliver(run)
        return self._time_out(run) if self._deadline.passed else self._leave(run)

    def _should_stop(self) -> bool:
        return self._told_to_stop() or self._deadline.passed

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
        verdict = killing.ask(self._context["ti"])
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
            wait = {} if wait_seconds is None else {"wait_s": wait_seconds}
            target.cancel(lineage.run_id, lineage=lineage.id, reason=reason, **wait)
