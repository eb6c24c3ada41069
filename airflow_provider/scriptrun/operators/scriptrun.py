"""ScriptRunOperator: one ScriptRunConfig, run once per Airflow task, whatever happens to the worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.configuration import conf

from airflow_provider.scriptrun.config import ScriptRunConfig, template_value, with_overrides
from airflow_provider.scriptrun.config.template import is_template
from airflow_provider.scriptrun.links.run_links import CommitLink, RunFolderLink
from airflow_provider.scriptrun.operators import retries as retrying
from airflow_provider.scriptrun.operators.experiment_name import experiment_name, refuse_experiment_name
from airflow_provider.scriptrun.operators.label import MAP_INDEX_TEMPLATE, label
from airflow_provider.scriptrun.operators.mapping import ScriptRunPartial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.sdk import Context, RetryPolicy

    from airflow_provider.scriptrun.operators.attendance import Attendance
    from airflow_provider.scriptrun.operators.deadline import Deadline
    from airflow_provider.scriptrun.triggers.wait import Wait

#: The operator's own fields that take the place of the config's, or are added to them.
OVERRIDES = ("arguments", "compute_target", "environment_variables", "tags")
#: Checks the operator's own fields where the config is not known before the task runs.
STAND_IN = {"source_directory": ".", "script": "script.py"}


class ScriptRunOperator(BaseOperator):
    """Run a script on a compute target, exactly once per try that starts it, and return the run record as XCom.

    The run does not depend on this process: when the worker dies or is stopped, the next try joins it, and its log
    goes on. When a person ends or clears the task, the run is cancelled. Each top-level field of the record is an XCom
    key of its own: ``train.output["metrics"]``.

    :param config: what to run: a ``ScriptRunConfig``, or a dictionary of its fields. Templated, as a dictionary.
    :param experiment: the series of runs that this one belongs to. Default: the DAG's id.
    :param arguments: take the place of the config's arguments.
    :param compute_target: an Airflow connection id, or ``local``; takes the place of the config's.
    :param environment_variables: added to the config's, and win over them.
    :param tags: added to the config's, and win over them.
    :param refresh_environment: resolve the environment's requirements again at every run that starts, whatever the
        target has kept. Not templated.
    :param deferrable: wait in the triggerer for a run that takes longer than ``[scriptrun] defer_after_seconds``, with
        no worker slot held. Default: ``[operators] default_deferrable``.
    :param retries: Default: what ``default_args`` or ``[core] default_task_retries`` say, else three, which then are
        not spent on a script that fails (see ``retry_policy``).
    :param retry_policy: Default: one that gives up at once where another try would end in the same way.
    :raises ConfigurationError: a field is wrong: at parse time or, where it holds a template, when it runs.
    """

    template_fields: Sequence[str] = (
        "config",
        "experiment",
        "arguments",
        "compute_target",
        "environment_variables",
        "tags",
    )
    template_fields_renderers = {"config": "json", "arguments": "json", "environment_variables": "json", "tags": "json"}
    ui_color = "#e4f0e8"
    operator_extra_links = (RunFolderLink(), CommitLink())

    def __init__(
        self,
        *,
        config: ScriptRunConfig | Mapping[str, Any] | Any,
        experiment: str | None = None,
        arguments: Sequence[Any] | Any | None = None,
        compute_target: str | None = None,
        environment_variables: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        refresh_environment: bool = False,
        deferrable: bool | None = None,
        retries: int | None = None,
        retry_policy: RetryPolicy | None = None,
        **kwargs: Any,
    ) -> None:
        retries = retrying.default_retries() if retries is None else retries
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(retries=int(retries), retry_policy=retry_policy or retrying.default_policy(retries), **kwargs)
        self.config = template_value(config)
        self.experiment = experiment
        self.arguments = arguments
        self.compute_target = compute_target
        self.environment_variables = environment_variables
        self.tags = tags
        self.refresh_environment = refresh_environment
        self.deferrable = _default_deferrable() if deferrable is None else deferrable
        self.shown_links: dict[str, str] | None = {}  #: what its buttons lead to; ``None``: what they did before
        self._told_to_stop = False
        refuse_mistakes(vars(self))

    @classmethod
    def partial(cls, **kwargs: Any) -> ScriptRunPartial:
        """Prepare a mapped task; the defaults are those of a task that is not mapped."""
        if "config" in kwargs:
            # As a dictionary it is rendered, and other tasks' outputs in it are waited for.
            kwargs["config"] = template_value(kwargs["config"])
        refuse_mistakes(kwargs)
        kwargs.setdefault("map_index_template", MAP_INDEX_TEMPLATE)
        prepared = super().partial(**kwargs)
        prepared._expand_called = True  # this one is never mapped, and need not say so
        retrying.settle(prepared.kwargs)
        return ScriptRunPartial(operator_class=cls, kwargs=prepared.kwargs, params=prepared.params)

    @property
    def label(self) -> str:
        """What tells this run from its siblings, in a few words: the name of a mapped task's instance."""
        if not isinstance(self.config, Mapping):
            return ""
        return label(with_overrides(dict(self.config), **_overrides(vars(self))), self.environment_variables)

    def on_kill(self) -> None:
        """Note that the task was told to stop. Runs in a signal handler: no lock, no log, no question to Airflow."""
        self._told_to_stop = True

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit or join the run, follow it to its end, collect what it left, and return its record."""
        return self._attend(context, defers=self.deferrable)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on behind a trigger, also behind one that failed: Airflow's entry for a task that was deferred."""
        self.shown_links = None
        return super().resume_execution(next_method, next_kwargs, context)

    def resume(
        self,
        context: Context,
        event: dict[str, Any],
        experiment: str,
        secrets: Sequence[str] = (),
        until: float | None = None,
    ) -> dict[str, Any]:
        """Go on behind the trigger: collect what the run left, and return its record.

        :param event: the trigger's, see :class:`ScriptRunTrigger`.
        :param experiment: the run's.
        :param secrets: what names the secrets that its script may print.
        :param until: when the ``execution_timeout`` passes of a run that goes on, in seconds since 1970.
        """
        from airflow_provider.scriptrun.operators.deadline import Deadline
        from airflow_provider.scriptrun.triggers.wait import DEADLINE, NOT_STARTED, TROUBLE

        if event["why"] == NOT_STARTED:  # its starter died before it began: it is asked for once more
            return self._attend(context, defers=False, until=until)
        until = until if event["why"] == TROUBLE else None  # else it is over: what ended in time may be collected late
        with Deadline(is_set=self.execution_timeout is not None, until=until) as deadline:
            attendance = self._attendance(context, deadline)
            return attendance.resume(
                event["run_id"],
                experiment,
                event["cursor"],
                secrets=secrets,
                recall=self._recall,
                is_over_time=event["why"] == DEADLINE,
            )

    def _decide(self, context: Context) -> None:
        """Settle what is run, where that is not known before the task runs."""

    def _recall(self, config: Mapping[str, Any]) -> None:
        """Know again what is run, behind a trigger, where that was settled before it."""

    def _attend(self, context: Context, *, defers: bool, until: float | None = None) -> dict[str, Any]:
        from airflow_provider.scriptrun.operators.deadline import Deadline

        self._decide(context)
        config = ScriptRunConfig.from_rendered(with_overrides(self.config, **_overrides(vars(self))))
        experiment = self.experiment or experiment_name(context["dag"].dag_id)
        with Deadline(is_set=self.execution_timeout is not None, until=until) as deadline:
            defer = partial(self._wait_elsewhere, experiment) if defers else None
            attendance = self._attendance(context, deadline, defer)
            return attendance.attend(config, experiment, refresh_environment=self.refresh_environment)

    def _attendance(
        self, context: Context, deadline: Deadline, defer: Callable[[Wait], NoReturn] | None = None
    ) -> Attendance:
        from airflow_provider.scriptrun.operators.attendance import Attendance

        return Attendance(context, self.log, told_to_stop=lambda: self._told_to_stop, deadline=deadline, defer=defer)

    def _wait_elsewhere(self, experiment: str, wait: Wait) -> NoReturn:
        from airflow_provider.scriptrun.triggers.run_over import ScriptRunTrigger

        trigger = ScriptRunTrigger(asdict(wait))
        again = {"experiment": experiment, "secrets": list(wait.secrets), "until": wait.deadline}
        self.defer(trigger=trigger, method_name="resume", kwargs=again)
        raise AssertionError("a task that defers ends there")


def _default_deferrable() -> bool:
    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def _overrides(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: fields[name] for name in OVERRIDES if fields.get(name) is not None}


def refuse_mistakes(fields: Mapping[str, Any]) -> None:
    """Check what an operator was given, as far as its templates allow. Raises :class:`ConfigurationError`."""
    config = fields.get("config")
    if not isinstance(config, dict):
        config = STAND_IN
    said = {name: value for name, value in _overrides(fields).items() if not is_template(value)}
    ScriptRunConfig.model_validate(with_overrides(config, **said))
    experiment = fields.get("experiment")
    if experiment is not None and not is_template(experiment):
        refuse_experiment_name(experiment)
