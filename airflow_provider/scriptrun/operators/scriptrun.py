"""ScriptRunOperator: one ScriptRunConfig, run once per Airflow task, whatever happens to the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider.scriptrun.config import ScriptRunConfig


class ScriptRunOperator(BaseOperator):
    """Run a script on a compute target, exactly once per try that starts it, and return the run record as XCom.

    :param config: what to run: a ``ScriptRunConfig``, or a dictionary of its fields.
    :param experiment: the series of runs that this one belongs to; the DAG's id by default.
    :param arguments: take the place of the config's arguments.
    :param compute_target: an Airflow connection id, or ``local``; takes the place of the config's.
    :param environment_variables: added to the config's, and win over them.
    :param tags: added to the config's, and win over them.
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

    def __init__(
        self,
        *,
        config: ScriptRunConfig | Mapping[str, Any] | Any,
        experiment: str | None = None,
        arguments: Sequence[Any] | Any | None = None,
        compute_target: str | None = None,
        environment_variables: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.experiment = experiment
        self.arguments = arguments
        self.compute_target = compute_target
        self.environment_variables = environment_variables
        self.tags = tags

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit or join the run, follow it to its end, collect what it left, and return its record."""
        raise NotImplementedError
