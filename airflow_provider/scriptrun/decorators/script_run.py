"""``@task.script_run``: the function decides at run time, with the context at hand, and what it returns is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk.bases.decorator import DecoratedOperator, _TaskDecorator, determine_kwargs
from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION
from airflow.sdk.definitions.context import context_merge

from airflow_provider.scriptrun.config import template_value
from airflow_provider.scriptrun.config.template import is_template
from airflow_provider.scriptrun.errors import ConfigurationError
from airflow_provider.scriptrun.operators import retries as retrying
from airflow_provider.scriptrun.operators.label import MAP_INDEX_TEMPLATE, pairs, shortened
from airflow_provider.scriptrun.operators.scriptrun import STAND_IN, ScriptRunOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from airflow.sdk import Context
    from airflow.sdk.bases.decorator import TaskDecorator


class ScriptRunDecoratedOperator(DecoratedOperator, ScriptRunOperator):
    """Call a function, and run the ``ScriptRunConfig`` that it returns as :class:`ScriptRunOperator` does.

    The function runs in every try, one that joins a run too: what it returns counts only for a run that starts.

    :param python_callable: returns a ``ScriptRunConfig``, or a dictionary of its fields; templates in it are rendered.
    :param op_args: its positional arguments. Templated.
    :param op_kwargs: its keyword arguments. Templated; those that are called as Airflow's context keys are filled in.
    """

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *ScriptRunOperator.template_fields)
    template_fields_renderers = {
        **DecoratedOperator.template_fields_renderers,
        **ScriptRunOperator.template_fields_renderers,
    }
    custom_operator_name = "@task.script_run"
    overwrite_rtif_after_execution = True  # the rendered fields show what was run, not that it was not known

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if "config" in kwargs:
            raise ConfigurationError(
                "@task.script_run: config is what the function returns", advice="Leave it out of the decorator."
            )
        super().__init__(
            python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, config=STAND_IN, **kwargs
        )
        self.config: Any = SET_DURING_EXECUTION

    @property
    def label(self) -> str:
        """What tells this run from its siblings: what the function is called with, until it has said what is run."""
        if isinstance(self.config, Mapping):
            return super().label
        return shortened(" ".join([*map(str, self.op_args), *pairs(self.op_kwargs)]))

    def _decide(self, context: Context) -> None:
        context_merge(context, self.op_kwargs)
        found = self.python_callable(*self.op_args, **determine_kwargs(self.python_callable, self.op_args, context))
        if found is None or is_template(found):
            raise ConfigurationError(
                f"@task.script_run: {self.task_id} returned {found!r:.100}, which is nothing to run",
                advice="Return a ScriptRunConfig, or a dictionary of its fields.",
            )
        # The other fields are rendered already; what a person wrote in them must not be rendered once more.
        self.config = self.render_template(template_value(found), context)

    def _recall(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)


class _ScriptRunTask(_TaskDecorator[Any, Any, ScriptRunDecoratedOperator]):
    def _expand(self, expand_input: Any, *, strict: bool) -> Any:
        made: Any = super()._expand(expand_input, strict=strict)
        retrying.settle(made.operator.partial_kwargs)
        return made


def script_run_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a task of a function that returns what is to run; behind ``@task.script_run``.

    :param kwargs: :class:`ScriptRunOperator`'s, without ``config``.
    """
    kwargs.setdefault("multiple_outputs", True)
    kwargs.setdefault("map_index_template", MAP_INDEX_TEMPLATE)
    multiple_outputs = kwargs.pop("multiple_outputs")

    def decorate(function: Callable[..., Any]) -> Any:
        return _ScriptRunTask(
            function=function,
            multiple_outputs=multiple_outputs,
            operator_class=ScriptRunDecoratedOperator,
            kwargs=dict(kwargs),
        )

    if python_callable is None:
        return cast("TaskDecorator", decorate)
    if not callable(python_callable):
        raise TypeError("No positional arguments allowed while using @task.script_run, use named arguments instead")
    return cast("TaskDecorator", decorate(python_callable))
